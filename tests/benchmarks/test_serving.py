"""The benchmark of the service: its flags, its table, and a measurement with made-up models."""

import json
import subprocess
import sys

import pytest

from benchmarks import serving
from tests.serving.service.conftest import ROOT
from tests.serving.service.fake_service import write_model
from tff_nlp.errors import UserError


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, "--runs: must be given"),
        ({"runs": "a=b", "clients": "1,0"}, "--clients=1,0: must be numbers"),
        ({"runs": "a=b", "repeats": 0}, "repeats=0: must be 1 or more"),
    ],
)
def test_mistakes(values, reason):
    with pytest.raises(UserError, match=reason):
        serving.ServingFlags(**values)


@pytest.mark.slow
def test_a_slow_model_is_slower(tmp_path):
    pytest.importorskip("fastapi", reason="the extra serve is not installed")
    # The benchmark starts the script; this one starts the made-up models in its place.
    code = (
        "import pathlib, sys\n"
        "from benchmarks import serving\n"
        "from experiments.command_line import entry\n"
        "serving._ROOT = pathlib.Path(sys.argv.pop(1))\n"
        "entry.run(serving.main, serving.FLAGS, groups=serving.GROUPS)\n"
    )
    stand_in = tmp_path / "experiments" / "serve.py"
    stand_in.parent.mkdir()
    stand_in.write_text(
        "import runpy\n"
        "runpy.run_module('tests.serving.service.fake_service', run_name='__main__')\n"
    )
    fast = write_model(tmp_path / "fast")
    slow = write_model(tmp_path / "slow", seconds=0.1)
    figures = tmp_path / "figures.json"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            code,
            str(tmp_path),
            f"--runs=fast={fast},slow={slow}",
            "--clients=1,4",
            "--seconds=1",
            "--repeats=1",
            f"--json={figures}",
        ],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = {
        (row["model"].partition("=")[0], row["clients"]): row
        for row in json.loads(figures.read_text())
    }
    assert len(done.stdout.splitlines()) == 5
    assert rows["slow", 1]["p50_ms"] > 100
    assert rows["slow", 1]["requests_per_second"] < 10
    assert rows["fast", 1]["requests_per_second"] > rows["slow", 1]["requests_per_second"]
