"""experiments/publish.py: the model, the statement, the settings, and nothing else of a run."""

import json
import os
import shutil
import stat

import pytest

from experiments import publish
from tests.experiments import conftest
from tff_nlp.runs import publication
from tff_nlp.serving import model_fingerprint, predictor


def published(run, to):
    return conftest.script(publish, f"--run={run}", f"--to={to}")


@pytest.fixture
def no_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_what_may_be_shown_and_nothing_else(finished, tmp_path, no_umask):
    to = tmp_path / "deep" / "shown"
    ended = published(finished.folder, to)
    assert (ended.code, ended.err) == (0, "")
    assert sorted(path.name for path in to.parent.iterdir()) == ["shown"]
    assert sorted(path.name for path in to.iterdir()) == [
        "model",
        "settings.json",
        "statement.json",
    ]
    settings = json.loads((to / "settings.json").read_text())
    assert settings["client_learning_rate"] == conftest.TINY["client_learning_rate"]
    assert settings["encoder"] == "random"
    assert settings["result.rounds"] == conftest.TINY["rounds"]
    assert settings["result.fingerprints.model"] == model_fingerprint.of(to / "model")
    assert predictor.load(to / "model").label_names == ("bad", "good")
    # Others may read it, and nobody but the owner write.
    modes = {stat.S_IMODE(path.stat().st_mode) for path in [to, *to.rglob("*")]}
    assert modes <= {0o755, 0o644}


def test_nothing_leads_back_to_texts_or_clients(finished, tmp_path):
    to = tmp_path / "shown"
    run = shutil.copytree(finished.folder, tmp_path / "run")
    change(
        run / "config.json",
        seed=987654321,
        noise_seed=123454321,
        alone="mercy",
        encoder="/secret/clinic/bert",
    )
    private = {"line": "epsilon 1", "guaranteed": True, "epsilon_by_client": {"author3": 1.0}}
    change(run / "result.json", privacy=private)
    assert published(run, to).code == 0
    assert json.loads((to / "settings.json").read_text())["encoder"] == "bert"
    config = json.loads((run / "config.json").read_text())
    secrets = ["987654321", "123454321", "clinic", "author3", "reviews", "corpus", "mercy"]
    secrets += [config["corpus (fingerprint)"], config["test_corpus (fingerprint)"], str(run)]
    for path in to.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert [word for word in secrets if word.encode() in content] == [], path
    assert json.loads((to / "statement.json").read_text()) == {
        "line": "epsilon 1",
        "guaranteed": True,
    }


def test_nothing_beside_the_model_counts_the_texts(tmp_path):
    path = tmp_path / "info.json"
    use = {
        "label_names": ["bad", "good"],
        "max_tokens": 64,
        "strip_prefix": "",
        "tokenizer": {"lowercase": True},
        "serving_code": ["import tensorflow as tf"],
        "synthetic": False,
    }
    counts = {"corpus": "clinic.csv", "tokens": {"texts": 96, "tokens_unknown": 3}, "later": 7}
    path.write_text(json.dumps(use | counts))
    assert publication.info(path) == use


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_without_a_mechanism_it_says_so(finished_centrally, tmp_path):
    assert published(finished_centrally.folder, tmp_path / "shown").code == 0
    statement = json.loads((tmp_path / "shown" / "statement.json").read_text())
    assert statement["guaranteed"] is False
    assert "without differential privacy" in statement["line"]


def test_what_cannot_be_published(finished, tmp_path):
    run = shutil.copytree(finished.folder, tmp_path / "run")
    (tmp_path / "there").mkdir()
    changed = shutil.copytree(run, tmp_path / "changed")
    (changed / "model" / "saved_model.pb").write_bytes(b"another")
    unfinished = shutil.copytree(run, tmp_path / "unfinished")
    (unfinished / "result.json").unlink()
    for folder, to, part in (
        (tmp_path / "missing", "new", "there is no such folder"),
        (unfinished, "new", "not finished"),
        (changed, "new", "not the model that result.json"),
        (run, "there", "exists already"),
        (run, "run/shown", "is inside of the run's folder"),
        (run, "changed/config.json/x", "is a file"),
    ):
        ended = published(folder, tmp_path / to)
        assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1), to
        assert part in ended.err
    assert not (tmp_path / "new").exists()
    assert "--to: must be given" in conftest.script(publish, f"--run={run}").err
