"""Exports of finished runs: what is written, what is refused, and students."""

import json
import re
import shutil
import sys

import numpy as np
import pytest
import tensorflow as tf

from experiments import export as script
from tests.experiments.conftest import script as call
from tests.runs import finished_runs
from tff_nlp.models.adapters import folding
from tff_nlp.runs import exporting, saved_run, trained_model
from tff_nlp.runs.configs.export import Export, ExportConfig, StudentConfig
from tff_nlp.serving import any_model, model_fingerprint, model_folder, predictor

TEXTS = ["the great phone", "awful and broken", "it was n5", ""]
# As in tests/serving/test_token_models.py.
ROUNDING = 2e-6


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "reviews"
    finished_runs.write(folder)
    return folder


@pytest.fixture
def files_of(tmp_path):
    """Everything in the folder, to see that nothing is written."""
    return lambda: sorted(path.name for path in tmp_path.iterdir())


def exported(run, output, to, student=None, **options):
    exporting.export(
        Export(ExportConfig(str(run), to, str(output), **options), student or StudentConfig())
    )
    return model_folder.of_run(output, "run")


@pytest.mark.thorough
def test_savedmodel_has_the_layout_of_tensorflow_serving(run, tmp_path, capsys):
    folder = exported(run, tmp_path / "served", "savedmodel")
    assert folder == tmp_path / "served" / "1"
    assert [path.name for path in (tmp_path / "served").iterdir()] == ["1"]
    served = tf.saved_model.load(str(folder)).signatures["serving_default"]
    found = served(texts=tf.constant(TEXTS))
    expected = predictor.load(run / "model").predict(TEXTS)
    assert [label.decode() for label in found["label"].numpy()] == list(expected.labels)
    info = json.loads((folder / "info.json").read_text("utf-8"))
    assert info["privacy"]["line"] == "no guarantee: trained without differential privacy"
    assert "no guarantee: trained without" in capsys.readouterr().out


@pytest.mark.thorough
@pytest.mark.parametrize("to", ["onnx", "tflite"])
def test_other_formats_predict_as_the_run(run, tmp_path, to):
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    folder = exported(run, tmp_path / to, to)
    found = any_model.load(folder).predict(TEXTS).probabilities
    expected = any_model.load(run / "model").predict(TEXTS).probabilities
    assert np.abs(found - expected).max() < ROUNDING
    info = json.loads((folder / "info.json").read_text("utf-8"))
    assert (info["format"], info["precision"], info["pruned"]) == (to, "float32", 0)
    assert info["privacy"]["guaranteed"] is False


@pytest.mark.thorough
@pytest.mark.parametrize(
    "adapter", [{"adapter": "lora", "trainable": "adapter"}, {"pooling": "cls"}]
)
def test_weights_have_their_names_again(tmp_path, adapter):
    """Low-rank factors change the order of the weights, and two matrices may have one shape."""
    folder = tmp_path / "run"
    learner, weights = finished_runs.write(folder, **adapter)
    config, _ = saved_run.read(folder)
    found = trained_model.load(folder, config)
    model, trainable, frozen = folding.fold(learner.model, weights.trainable, weights.non_trainable)
    names = (*model.trainable_names, *model.frozen_names)
    expected = dict(zip(names, (*trainable, *frozen), strict=True))
    assert not [name for name in names if "lora" in name]
    loaded = found.weights()
    assert loaded.keys() == expected.keys()
    assert all(np.array_equal(loaded[name], expected[name]) for name in names)
    # Without vocab.txt, as in runs of older versions, the vocabulary is learned once more.
    (folder / "model" / "vocab.txt").unlink()
    result = json.loads((folder / "result.json").read_text())
    result["fingerprints"]["model"] = model_fingerprint.of(folder / "model")
    (folder / "result.json").write_text(json.dumps(result))
    again = trained_model.load(folder, config, str(tmp_path / "cache"))
    assert again.model.tokenizer.vocabulary == learner.model.tokenizer.vocabulary


@pytest.mark.thorough
def test_a_student_has_fewer_layers_and_learns(run, tmp_path, capsys):
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    student = StudentConfig(student_layers=1, distill_epochs=30, distill_learning_rate=3e-3)
    folder = exported(run, tmp_path / "small", "onnx", student)
    shown = capsys.readouterr()
    assert "warning" in shown.out
    assert "does not cover these texts" in shown.out
    # Every batch of the teacher and of the student's passes is counted, once.
    assert re.findall(r"batch (\d+)/\1: 0:00 min left", shown.err) and shown.err.count("batch") == 1
    info = json.loads((folder / "info.json").read_text("utf-8"))
    assert info["privacy"]["student"].startswith("the student was trained on the training texts")
    assert info["privacy"]["line"].startswith("no guarantee: a student was trained on the training")
    config, _ = saved_run.read(run)
    texts = saved_run.load(run).texts.train.examples
    teacher = any_model.load(run / "model").predict(texts).probabilities
    learned = any_model.load(folder).predict(texts).probabilities
    begun = any_model.load(
        exported(run, tmp_path / "short", "onnx", StudentConfig(1, distill_learning_rate=1e-7))
    )
    divergence = [
        (teacher * np.log(teacher / probabilities)).sum(axis=1).mean()
        for probabilities in (learned, begun.predict(texts).probabilities)
    ]
    assert divergence[0] < 0.5 * divergence[1]
    sizes = [
        (path / "model.onnx").stat().st_size
        for path in (folder, exported(run, tmp_path / "whole", "onnx"))
    ]
    assert sizes[0] < sizes[1]


def test_a_student_on_other_texts_keeps_the_statement_of_a_private_run():
    """Public texts tell nothing about clients; the training texts would tell what noise hides."""
    stated = {"guaranteed": True, "line": "epsilon 8 at delta 1e-5 for each client"}
    what = ExportConfig("run", "onnx", "out")
    on_public = Export(what, StudentConfig(1, distill_corpus="public/texts.csv"))
    found = exporting.statement({"privacy": stated}, on_public)
    assert (found["guaranteed"], found["line"]) == (True, stated["line"])
    assert "the texts of texts.csv" in found["student"]
    own = exporting.statement({"privacy": stated}, Export(what, StudentConfig(1)))
    assert own["guaranteed"] is False
    assert own["line"].startswith("no guarantee")
    assert exporting.statement({"privacy": stated}, Export(what)) == stated


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"run": None}, "--run: must be given"),
        ({"to": None}, "--to: must be given"),
        ({"output": None}, "--output: must be given"),
        ({"to": "coreml"}, "--to=coreml: must be one of savedmodel, huggingface, tflite, onnx"),
        (
            {"to": "savedmodel", "precision": "int8"},
            "--precision=int8: --to=savedmodel has float32",
        ),
        ({"to": "huggingface", "precision": "int8"}, "--precision=int8: --to=huggingface has"),
        ({"to": "huggingface", "prune": 0.5}, "--prune=0.5: a pruned model is smaller as"),
        ({"prune": 1.0}, "--prune=1.0: must be at least 0 and below 1"),
        ({"student_layers": 0}, "--student_layers=0: must be 1 or more"),
        ({"student_layers": 2}, "--student_layers=2: must be below 2"),
        ({"distill_epochs": 9}, "--distill_epochs=9: only --student_layers uses it"),
    ],
)
def test_wrong_flags_are_one_line(run, tmp_path, files_of, flags, message):
    given = {"run": run, "to": "tflite", "output": tmp_path / "out"} | flags
    ended = call(script, *(f"--{n}={v}" for n, v in given.items() if v is not None))
    assert ended.code == 2
    assert ended.err.startswith(f"export.py: {message}")
    assert ended.err.count("\n") == 1
    assert files_of() == []


def refused(run, tmp_path, to="tflite"):
    ended = call(script, f"--run={run}", f"--to={to}", f"--output={tmp_path / 'out'}")
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
    return ended.err


def test_runs_that_cannot_be_exported_are_one_line(run, tmp_path):
    assert "there is no such folder" in refused(tmp_path / "none", tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    config = json.loads((copy / "config.json").read_text())

    def with_config(**changes):
        (copy / "config.json").write_text(json.dumps(config | changes))

    with_config(task="language_model")
    assert "is a language model; only classifiers are exported" in refused(copy, tmp_path)
    with_config(adapter="houlsby")
    message = refused(copy, tmp_path, "huggingface")
    assert "--adapter=houlsby, layers that cannot be merged into the weights" in message
    with_config()
    (copy / "model" / "saved_model.pb").write_bytes(b"other")
    for to in ("tflite", "savedmodel"):
        assert "it has changed since" in refused(copy, tmp_path, to)
    (copy / "model" / "info.json").write_text("{}")
    assert "info.json of its model cannot be read" in refused(copy, tmp_path)
    shutil.rmtree(copy / "model")
    assert "has no model" in refused(copy, tmp_path)
    (copy / "result.json").unlink()
    assert "the run is not finished" in refused(copy, tmp_path)


def test_an_output_that_exists_is_left_alone(run, tmp_path):
    (tmp_path / "out").write_text("mine")
    ended = call(script, f"--run={run}", "--to=onnx", f"--output={tmp_path / 'out'}")
    assert (ended.code, ended.out) == (2, "")
    assert (
        ended.err == f"export.py: --output={tmp_path / 'out'}: exists already; name a new folder\n"
    )
    assert (tmp_path / "out").read_text() == "mine"


def test_a_missing_package_is_one_line(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    message = refused(run, tmp_path, "onnx")
    assert "--to=onnx: needs the package onnx; install it with: pip install" in message
