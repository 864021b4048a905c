"""The pages load nothing from elsewhere, and a browser runs their script under their policy."""

import base64
import hashlib
import re
import shutil
import subprocess

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from tests.serving.service import app as in_process
from tests.serving.service.fake_service import write_model

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


def test_pages_run_only_their_own_script(run_async):
    async def requests():
        app = in_process.start()
        for path in ("/", "/docs"):
            answer = await app.client.get(path)
            assert not re.search(r"(src|href)=(?!\"(/|data:))", answer.text), path
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; ")
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert not re.search(r"\son\w+=|\sstyle=", answer.text)
            for code in re.findall(r"<(?:script|style)>(.*?)</", answer.text, re.DOTALL):
                digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
                assert f"'sha256-{digest}'" in policy

    run_async(requests())


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
def test_a_browser_runs_the_script(serve, tmp_path):
    service = serve(f"--run=reviews={write_model(tmp_path / 'model')}")
    done = subprocess.run(
        [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path / 'browser'}",
            "--virtual-time-budget=20000",
            "--dump-dom",
            f"http://127.0.0.1:{service.port}/",
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "<option>reviews, version 1</option>" in done.stdout
    assert "The model reads the first 64 tokens." in done.stdout
