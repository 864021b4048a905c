"""What a finished run leaves: every documented key, and numbers that agree with each other."""

import csv
import json
import pathlib
import re

import numpy as np
import pytest
import sklearn.metrics
import tensorflow as tf
from matplotlib import image

from tests.experiments import conftest
from tff_nlp.serving import predictor

SCHEMA = pathlib.Path(__file__).resolve().parents[2] / "docs" / "result.md"
# Of the values below these, the keys are names that are not the schema's.
OPEN = ("versions", "config")
# The parts that only some runs have.
OPTIONAL = ("attack", "audit", "clock", "personal")


def documented(part=""):
    """Returns the keys of every run, or those of a part that only some runs have."""
    rows = [line for line in SCHEMA.read_text().splitlines() if line.startswith("| `")]
    found = {key for row in rows for key in re.findall(r"`([\w.*]+)`", row.split("|")[1])}
    owner = {key: key.split(".")[0] for key in found}
    return {key for key in found if owner[key] == part or (not part and owner[key] not in OPTIONAL)}


def keys(value, path=""):
    if path in OPEN:
        return {f"{path}.*"}
    if not isinstance(value, dict):
        return {path}
    return set().union(*(keys(v, f"{path}.{k}" if path else k) for k, v in value.items()))


@pytest.fixture(scope="module")
def found(finished):
    return json.loads((finished.folder / "result.json").read_text())


@pytest.fixture(scope="module")
def found_centrally(finished_centrally):
    return json.loads((finished_centrally.folder / "result.json").read_text())


def test_every_key_is_documented_and_every_documented_key_is_there(found):
    assert keys(found) == documented()


def test_central_results_are_a_part_of_it(found_centrally):
    missing = documented() - keys(found_centrally)
    assert keys(found_centrally) <= documented()
    assert {key.partition(".")[0] for key in missing} == {
        "best",
        "validation",
        "clients",
        "held_out",
        "bytes_per_client",
        "fingerprints",
    }


def test_the_numbers_agree(found, finished):
    test = found["test"]
    confusion = np.array(test["confusion"])
    labels, predicted = (part.reshape(-1) for part in np.indices(confusion.shape))
    weights = confusion.reshape(-1)
    assert confusion.sum() == test["examples"] == 60
    assert test["accuracy"] == pytest.approx(np.trace(confusion) / 60)
    assert test["majority_accuracy"] == pytest.approx(confusion.sum(axis=1).max() / 60)
    assert test["macro_f1"] == pytest.approx(
        sklearn.metrics.f1_score(labels, predicted, average="macro", sample_weight=weights)
    )
    with (finished.folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["test_accuracy"]) == test["accuracy"]
    best = max(
        (row for row in rows if row["validation_accuracy"]),
        key=lambda row: float(row["validation_accuracy"]),
    )
    assert found["best"] == {
        "round": int(best["round"]),
        "validation_accuracy": float(best["validation_accuracy"]),
        "test_accuracy": float(best["test_accuracy"]),
        "chosen_on": "validation",
    }
    assert found["seconds"]["total"] == pytest.approx(
        sum(float(row["seconds"]) for row in rows), abs=2e-3
    )
    assert found["rounds"] == len(rows) == conftest.TINY["rounds"]
    assert found["bytes_per_client"]["up"] == 4 * found["trainable_parameters"]
    # Twelve authors, of whom a fifth is held out.
    assert found["held_out"]["over_clients"]["clients"] == 2
    assert found["clients"]["over_clients"]["clients"] == 10


def test_config_is_that_of_the_folder(found, found_centrally, finished, finished_centrally):
    for folder, values in ((finished, found), (finished_centrally, found_centrally)):
        assert json.loads((folder.folder / "config.json").read_text()) == values["config"]
    assert found["config"]["partition"] == "natural"
    assert found["config"]["devices"] == ["/CPU:0", "/CPU:0"]
    assert found["versions"]["tensorflow-federated"] == "0.87.0"


def test_pictures_are_pictures(finished, finished_centrally):
    for name in ("clients.png", "curves.png", "confusion.png"):
        assert image.imread(finished.folder / name).std() > 0.05
    for name in ("curves.png", "confusion.png"):
        assert image.imread(finished_centrally.folder / name).std() > 0.05


def test_what_was_printed(finished, found):
    out = finished.ended.out
    for part in (
        "240 training examples",
        "natural: 12 clients",
        "4 of 10 clients (fixed)",
        f"{found['trainable_parameters']:,} parameters train",
        "2 clients at a time",
        f"accuracy {found['test']['accuracy']:.4f}",
        "worst tenth",
    ):
        assert part in out
    lines = finished.ended.err.splitlines()
    rounds = [line.partition(":")[0] for line in lines if line.startswith("round ")]
    assert rounds == ["round 2/3", "round 3/3"]


def test_the_summary_is_kept(finished, found):
    assert "\n".join(found["summary"]) in finished.ended.out
    assert found["summary"][0].startswith(f"test      accuracy {found['test']['accuracy']:.4f}")


def test_a_finished_run_says_so_and_changes_nothing(finished, run_train):
    before = {p: p.read_bytes() for p in finished.folder.rglob("*") if p.is_file()}
    ended = run_train(finished.folder, **finished.flags)
    assert ended.code == 0
    assert "finished" in ended.out
    assert "accuracy" in ended.out
    assert ended.err == ""
    assert {p: p.read_bytes() for p in finished.folder.rglob("*") if p.is_file()} == before


def test_the_exported_model_predicts_what_the_run_scored(finished, found, reviews):
    """Labels of the test texts by model/ give the confusion matrix of the final weights."""
    from tff_nlp.runs import configs, data

    flags = configs.CorpusConfig(corpus=str(reviews), client_column="author")
    texts = data.load_data(flags, 0).test
    loaded = predictor.load(finished.folder / "model")
    assert list(loaded.label_names) == found["test"]["label_names"] == list(texts.label_names)
    predictions = loaded.predict(texts.texts)
    indices = [loaded.label_names.index(label) for label in predictions.labels]
    assert (
        sklearn.metrics.confusion_matrix(texts.labels, indices, labels=[0, 1]).tolist()
        == found["test"]["confusion"]
    )
    loss = sklearn.metrics.log_loss(texts.labels, predictions.probabilities.astype(np.float64))
    assert loss == pytest.approx(found["test"]["loss"], rel=1e-4)


def test_the_exported_weights_are_those_of_the_last_checkpoint(finished):
    loaded = tf.saved_model.load(str(finished.folder / "model"))
    exported = {v.numpy().tobytes() for v in loaded._trainable}
    with np.load(finished.folder / "checkpoints" / "round_000003.npz") as file:
        saved = {file[name].tobytes() for name in file.files}
    assert exported <= saved


def test_tensorboard_has_every_round_once(finished):
    steps = {}
    for path in (finished.folder / "tensorboard").iterdir():
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                steps.setdefault(value.tag, []).append(event.step)
    assert steps["train/loss"] == [1, 2, 3]
    assert steps["test/accuracy"] == [2, 3]
    assert steps["held_out/mean_accuracy"] == [2, 3]


def test_predict_on_a_run(finished, run_predict, tmp_path):
    ended = run_predict(f"--run={finished.folder}", "great phone", "awful\tphone 外卖")
    assert ended.code == 0
    assert all(line.startswith("predict.py: ") for line in ended.err.splitlines())
    lines = [line.split("\t", 2) for line in ended.out.splitlines()]
    assert [line[2] for line in lines] == ["great phone", "awful\tphone 外卖"]
    assert all(line[0] in ("good", "bad") for line in lines)

    file = tmp_path / "texts.txt"
    file.write_text("great phone\r\n\nsad\x85 phone\n", encoding="utf-8")
    ended = run_predict(f"--run={finished.folder / 'model'}", f"--file={file}", "--json")
    records = [json.loads(line) for line in ended.out.rstrip("\n").split("\n")]
    assert [record["text"] for record in records] == ["great phone", "", "sad\x85 phone"]
    assert sum(records[0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert records[0]["predicted_label"] == lines[0][0]
