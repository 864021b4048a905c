"""Trackers receive each round once, with the names that TensorBoard shows."""

import json

import pytest

from tests import tracker_records
from tff_nlp.program import trackers

ID = "0123456789abcdef" * 2
CONFIG = {"rounds": 3, "seed": None, "devices": ["/CPU:0"], "corpus (fingerprint)": "ab", "dp": ""}
ROWS = [
    {"round": 1, "clients": 4, "train_loss": 1 / 3, "seconds": 0.5},
    {"round": 2, "clients": 4, "train_loss": 0.25, "held_out_mean_accuracy": 0.7, "seconds": 0.1},
]
RESULT = {
    "rounds": 2,
    "test": {"accuracy": 2 / 3, "confusion": [[1, 2], [3, 4]], "warning": None},
    "privacy": {"line": "epsilon 2", "guaranteed": True},
    "domains": {"films & books/TV": {"accuracy": 0.5}},
}


def test_names_of_metrics():
    assert trackers.metrics(ROWS[1]) == {
        "round/clients": 4,
        "train/loss": 0.25,
        "held_out/mean_accuracy": 0.7,
        "round/seconds": 0.1,
    }


def test_no_metric_has_the_name_of_a_group():
    """A store of files had a file "clients" in the place of the folder of "clients/accuracy"."""
    names = trackers.metrics({"round": 1, "clients": 4, "clients_accuracy": 0.5, "seconds": 1})
    assert not {name.partition("/")[0] for name in names} & set(names)


def test_rows_as_text_have_no_empty_cells():
    class Kept(list):
        add = list.append

    kept = Kept()
    trackers.add_all([kept], [{"round": "1", "loss": "0.5", "test_accuracy": ""}])
    assert kept == [{"round": 1, "loss": 0.5}]


def test_results_are_flat():
    assert dict(trackers.flatten(RESULT)) == {
        "rounds": 2,
        "test.accuracy": 2 / 3,
        "privacy.line": "epsilon 2",
        "privacy.guaranteed": True,
        "domains.films & books/TV.accuracy": 0.5,
    }


def mlflow(folder, identity=ID):
    pytest.importorskip("mlflow")
    from tff_nlp.program import mlflow_tracker

    return mlflow_tracker.Mlflow(folder, "run", identity, CONFIG)


def wandb(folder, identity=ID):
    pytest.importorskip("wandb")
    from tff_nlp.program import wandb_tracker

    return wandb_tracker.Wandb(folder, "run", identity, CONFIG)


KINDS = {
    "mlflow": (mlflow, lambda folder: tracker_records.mlflow(folder / "mlflow")),
    "wandb": (wandb, lambda folder: tracker_records.wandb(folder / "wandb")),
}


@pytest.fixture(params=KINDS)
def kind(request, monkeypatch):
    """A function that opens a tracker in a folder, and one that reads its records back."""
    for name in ("MLFLOW_TRACKING_URI", "WANDB_DIR", "WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    return KINDS[request.param]


def record_all(tracker):
    for row in ROWS:
        tracker.add(row)
    tracker.finish(RESULT)
    tracker.close()


def rows_of(values):
    found = {}
    for row in values:
        for name, value in trackers.metrics(row).items():
            found.setdefault(name, []).append((row["round"], value))
    return found


def test_a_stopped_record_is_replaced(tmp_path, kind):
    opened, read = kind
    first = opened(tmp_path)
    first.add(ROWS[0])
    first.close()
    (found,) = read(tmp_path)
    assert (found.complete, found.rows) == (False, rows_of(ROWS[:1]))
    record_all(opened(tmp_path))
    (found,) = read(tmp_path)
    assert (found.name, found.complete, found.rows) == ("run", True, rows_of(ROWS))


def test_another_folder_has_another_record(tmp_path, kind):
    opened, read = kind
    record_all(opened(tmp_path))
    opened(tmp_path, ID[::-1]).close()
    assert sorted(found.complete for found in read(tmp_path)) == [False, True]


def test_mlflow_has_configuration_and_result(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    record_all(mlflow(tmp_path))
    (found,) = tracker_records.mlflow(tmp_path / "mlflow")
    names = {name: name for name in CONFIG} | {"corpus (fingerprint)": "corpus _fingerprint_"}
    texts = {n: v if isinstance(v, str) else json.dumps(v) for n, v in CONFIG.items()}
    assert found.config == {names[name]: text for name, text in texts.items()}
    assert found.result == {
        "rounds": 2,
        "test.accuracy": 2 / 3,
        "privacy.line": "epsilon 2",
        "privacy.guaranteed": "true",
        "domains.films _ books_TV.accuracy": 0.5,
    }


def test_wandb_has_configuration_and_result(tmp_path, monkeypatch):
    for name in ("WANDB_DIR", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    record_all(wandb(tmp_path))
    (found,) = tracker_records.wandb(tmp_path / "wandb")
    assert found.config == CONFIG
    assert found.result == dict(trackers.flatten(RESULT))


def test_variables_of_the_user_name_other_places(tmp_path, monkeypatch):
    own, shared = tmp_path / "own", tmp_path / "shared"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (shared / "store").as_uri())
    monkeypatch.setenv("WANDB_DIR", str(shared))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    for opened in (mlflow, wandb):
        record_all(opened(own))
    assert not own.exists()
    assert len(tracker_records.mlflow(shared / "store")) == 1
    assert len(tracker_records.wandb(shared / "wandb")) == 1


def test_nothing_on_the_machine_is_kept(tmp_path, monkeypatch):
    import getpass
    import socket

    for name in ("MLFLOW_TRACKING_URI", "WANDB_DIR", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket, "gethostname", lambda: "name-of-host")
    monkeypatch.setattr(getpass, "getuser", lambda: "name-of-user")
    for opened in (mlflow, wandb):
        record_all(opened(tmp_path))
    for path in tmp_path.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert b"name-of-" not in content, path
        assert path.name not in ("wandb-metadata.json", "requirements.txt", "latest-run")
