"""The script serves exported models: it answers as they do, and damage is one line."""

import json
import shutil
import signal
import subprocess
import sys

import httpx
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from tests.serving.service.conftest import PATIENCE, ROOT, RunningService
from tff_nlp.models import classifier, encoders
from tff_nlp.serving import export, predictor

pytestmark = pytest.mark.slow

TEXTS = ("The cat sat on the mat!", "A good film, not bad.", "外卖很好吃，下次再来。")
LABELS = ("schlecht", "gut", "好")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two exports with other weights."""
    encoder = encoders.random(
        TEXTS, layers=1, width=32, heads=2, vocabulary_size=120, max_tokens=16
    )
    model = classifier.build(encoder, 3)
    trainable, frozen = model.initial_weights()
    made = []
    for seed in (1, 2):
        generator = np.random.default_rng(seed)
        changed = [w + generator.normal(0, 0.3, w.shape).astype(np.float32) for w in trainable]
        made.append(tmp_path_factory.mktemp("export") / "model")
        export.export(made[-1], model, changed, frozen, LABELS, 12)
    return made


def command(*flags):
    return [sys.executable, str(ROOT / "experiments" / "serve.py"), "--port=0", *flags]


def post(service, content, path="/v1/predict"):
    return httpx.post(f"http://127.0.0.1:{service.port}{path}", json=content, timeout=60).json()


def test_answers_are_those_of_the_models_before_and_after_a_switch(folders, tmp_path):
    models, log = tmp_path / "models", tmp_path / "log"
    models.write_text(f"m:1={folders[0]}\n")
    texts = [*TEXTS, "good " * 500, "👍🏽\0good"]
    expected = [predictor.load(folder).predict(texts) for folder in folders]
    assert not np.allclose(expected[0].probabilities, expected[1].probabilities)
    with log.open("w") as file:
        process = subprocess.Popen(
            command(f"--models={models}", "--workers=2", "--max_batch=3"), cwd=ROOT, stderr=file
        )
    try:
        service = RunningService(process, log)
        for version, wanted in enumerate(expected, 1):
            answer = post(service, {"texts": texts})
            assert answer["version"] == version
            assert tuple(one["label"] for one in answer["predictions"]) == wanted.labels
            got = [[one["probabilities"][name] for name in LABELS] for one in answer["predictions"]]
            np.testing.assert_allclose(got, wanted.probabilities, atol=1e-6)
            rows = post(service, {"instances": texts}, "/v1/models/m:predict")["predictions"]
            assert [row["probabilities"] for row in rows] == got
            models.write_text(f"m:2={folders[1]}\n")
            service.signal(signal.SIGHUP)
            service.wait_for("now serving m version 2")
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0


@pytest.mark.parametrize("damage", ["saved_model.pb", "variables/variables.data-00000-of-00001"])
def test_a_truncated_model_is_one_line_and_code_2(folders, tmp_path, damage):
    folder = tmp_path / "model"
    shutil.copytree(folders[0], folder)
    file = folder / damage
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    done = subprocess.run(command(f"--run={folder}"), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 2, lines  # The first one says what is loaded.
    assert lines[1].startswith(f"serve.py: --run={folder}: cannot load the saved model")
    assert json.dumps(lines[1]).count("\\n") == 0
