"""Runs with both trackers, read back: the same numbers as metrics.csv and result.json."""

import csv
import json
import shutil

import pytest

from tests import tracker_records
from tests.experiments import conftest
from tff_nlp.program import trackers

pytest.importorskip("mlflow")
pytest.importorskip("wandb")

BOTH = {"trackers": "mlflow,wandb"}


@pytest.fixture(autouse=True)
def own_places(monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "WANDB_DIR", "WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)


def records(folder):
    """Returns the only record of each tracker."""
    (of_mlflow,) = tracker_records.mlflow(folder / "tracking" / "mlflow")
    (of_wandb,) = tracker_records.wandb(folder / "tracking" / "wandb")
    return of_mlflow, of_wandb


def rows_of(folder):
    """Returns metrics.csv: metric -> list of (round, value)."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = {}
    for row in rows:
        numbers = {column: float(cell) for column, cell in row.items() if cell}
        for metric, value in trackers.metrics(numbers).items():
            found.setdefault(metric, []).append((int(row["round"]), value))
    return found


def leaves(value, path=""):
    """Yields the numbers and texts of a JSON value by dotted name."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from leaves(part, f"{path}.{name}" if path else name)
    elif value is not None and not isinstance(value, list):
        yield path, value


def as_text(value):
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def check_everything(folder):
    result = json.loads((folder / "result.json").read_text())
    config, _ = result.pop("config"), result.pop("summary")
    expected = dict(leaves(result))
    for found in records(folder):
        assert found.complete
        assert found.name == folder.name
        assert found.rows == rows_of(folder)
    of_mlflow, of_wandb = records(folder)
    assert of_wandb.result == expected
    assert of_mlflow.result == {
        name: as_text(value) if isinstance(value, str | bool) else value
        for name, value in expected.items()
    }
    assert of_wandb.config == config
    assert sorted(of_mlflow.config.values()) == sorted(as_text(v) for v in config.values())
    assert of_mlflow.config["client_learning_rate"] == str(config["client_learning_rate"])


@pytest.mark.slow
def test_a_killed_run_has_each_round_once(tmp_path, run_train, finished):
    """The run begins without trackers, gets them in its middle, is killed, and ends with them."""
    killed, folder = tmp_path / "killed", shutil.copytree(finished.stopped, tmp_path / "run")
    with conftest.copying(killed, before=1):
        ended = run_train(folder, **finished.flags, **BOTH)
    assert (ended.code, ended.out.count("wandb")) == (0, 0), ended.err
    assert "wandb" not in ended.err and "mlflow" not in ended.err
    check_everything(folder)
    assert (folder / "tracking").stat().st_mode & 0o777 == 0o700
    # MLflow has a run that never ended, with the round that will be computed again.
    (begun,) = tracker_records.mlflow(killed / "tracking" / "mlflow")
    assert not begun.complete
    assert [step for step, _ in begun.rows["train/loss"]] == [1, 2]
    assert run_train(killed, **finished.flags, **BOTH).code == 0
    check_everything(killed)


PRIVATE = {
    "dp": "gaussian",
    "noise_multiplier": 1.0,
    "clipping_norm": 0.05,
    "delta": 0.01,
    "client_column": "author",
    "held_out_fraction": 0.2,
    "rounds": 2,
    "eval_every": 1,
    "trainable": "head",
    "seed": 8415926,
}
# The rule is in tff_nlp/runs/tracked_values.py.
SHOWN = {
    "test/accuracy",
    "test/macro_f1",
    "test/loss",
    "epsilon/rdp",
    "clipping/norm",
    "server/update_norm",
}


@pytest.mark.thorough
def test_a_private_run_shows_nothing_that_clients_measured(tmp_path, run_train, reviews):
    folder = tmp_path / "run"
    ended = run_train(folder, **PRIVATE, **BOTH)
    assert ended.code == 0, ended.err
    rows = rows_of(folder)
    result = json.loads((folder / "result.json").read_text())
    privacy = dict(leaves({"privacy": result["privacy"]}))
    # All of this is in the run's own files.
    assert {"train/loss", "round/clients", "clients/worst_decile_accuracy"} < set(rows)
    for found in records(folder):
        assert found.complete
        assert found.rows == {metric: rows[metric] for metric in SHOWN}
        assert found.result["test.accuracy"] == result["test"]["accuracy"]
        assert found.result["bytes_per_client.up"] == result["bytes_per_client"]["up"]
        assert found.result["privacy.line"] == result["privacy"]["line"]
        assert {name for name in found.result if name.startswith("privacy.")} == set(privacy)
        assert not {"seed", "corpus", "noise_seed"} & set(found.config)
        parts = {name.partition(".")[0] for name in found.result}
        facts = {"task", "rounds", "trainable_parameters", "frozen_parameters", "synthetic"}
        assert parts <= {*facts, "versions", "test", "bytes_per_client", "privacy"}
    losses = [repr(value) for _, value in rows["train/loss"]]
    digests = [digest for digest in result["fingerprints"].values() if digest]
    authors = [f"author{number}" for number in range(12)]
    secrets = [str(reviews), str(PRIVATE["seed"]), *losses, *digests, *authors]
    for path in (folder / "tracking").rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert [secret for secret in secrets if secret.encode() in content] == [], path


@pytest.mark.slow
def test_a_failing_tracker_is_one_line_and_the_run_goes_on(
    tmp_path, run_train, finished, monkeypatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "file").as_uri())
    folder = shutil.copytree(finished.stopped, tmp_path / "run")
    ended = run_train(folder, **finished.flags, trackers="mlflow")
    assert (ended.code, "train.py: --trackers=mlflow: " in ended.err) == (1, True)
    assert ended.err.rstrip().endswith("the same command goes on from the last checkpoint")
    # The folder resumes without trackers: they are no part of what a run is.
    assert "continues after round 1" in ended.out


@pytest.mark.slow
def test_central_runs_have_trackers_too(tmp_path, run_central):
    folder = tmp_path / "run"
    assert run_central(folder, epochs=2, **BOTH).code == 0
    check_everything(folder)
    assert set(rows_of(folder)) >= {"round/epoch", "train/loss", "test/accuracy"}
