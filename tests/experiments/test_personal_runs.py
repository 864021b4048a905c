"""--personalize in whole runs: files, sums, resume, and what is published."""

import csv
import json

import numpy as np
import pytest

from tests.experiments import conftest, test_result

BY_AUTHOR = {"client_column": "author", "num_clients": None, "rounds": 2, "trainable": "biases"}


def read(folder):
    with (folder / "personal.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return rows, json.loads((folder / "result.json").read_text())


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, run_train):
    folder = tmp_path_factory.mktemp("runs") / "tuned"
    flags = {**BY_AUTHOR, "personalize": "fine_tune", "fine_tune_steps": 3}
    ended = run_train(folder, **flags)
    assert ended.code == 0, ended.err
    return conftest.Finished(folder, ended, flags)


@pytest.mark.slow
def test_fine_tuning_needs_no_other_flag(tuned):
    rows, result = read(tuned.folder)
    assert result["config"]["client_validation_fraction"] == 0.1
    assert "validation" in result
    found = result["personal"]
    assert found["how"] == "fine_tune"
    assert {row["steps"] for row in rows} <= {"0", "1", "2", "3"}
    for name in ("before", "after"):
        scores = np.array([float(row[name]) for row in rows])
        assert found[name]["mean"] == pytest.approx(scores.mean())
        assert found[name]["worst_decile"] == pytest.approx(scores.min())
    # The score of the final model is that of the set of clients' test texts.
    assert found["before"]["mean"] == pytest.approx(result["clients"]["over_clients"]["mean"])
    assert sum(int(row["examples"]) for row in rows) == result["clients"]["examples"]
    assert any(line.startswith("personal  fine_tune") for line in result["summary"])
    assert test_result.keys({"personal": found}) == test_result.documented("personal")
    for name in ("personal.csv", "personal.png"):
        assert (tuned.folder / name).stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_a_run_that_was_stopped_while_it_tuned_has_the_same_scores(tuned, run_train):
    rows, result = read(tuned.folder)
    (tuned.folder / "result.json").unlink()
    assert run_train(tuned.folder, **tuned.flags).code == 0
    assert read(tuned.folder)[0] == rows
    assert read(tuned.folder)[1]["personal"] == result["personal"]


@pytest.mark.slow
def test_airlines_with_models_of_their_own(tmp_path, run_train, shared_corpora):
    """Six airlines: Ditto shares the model of FedAvg, and FedPer's heads are not sent."""
    flags = {
        "text_column": "text",
        "label_column": "airline_sentiment",
        "client_column": "airline",
        "label_map": "negative:negative,neutral:neutral,positive:positive",
        "strip_prefix": "=",
        "encoding": "utf-8,latin-1",
        "corpus": shared_corpora / "airline_tweets" / "Tweets.csv",
        "clients_per_round": 6,
        "num_clients": None,
        "local_steps": 30,
        "encoder_width": 64,
        "client_test_fraction": 0.3,
        "client_eval_examples": 4000,
    }
    found = {}
    for algorithm in ("fedavg", "ditto", "fedper"):
        ended = run_train(tmp_path / algorithm, **flags, algorithm=algorithm)
        assert ended.code == 0, ended.err
        found[algorithm] = json.loads((tmp_path / algorithm / "result.json").read_text())
    assert found["ditto"]["test"] == found["fedavg"]["test"]
    for algorithm in ("ditto", "fedper"):
        rows, result = read(tmp_path / algorithm)
        assert len(rows) == 6 and result["personal"]["never_sampled"] == 0
        assert any(row["before"] != row["after"] for row in rows)
    # Whatever a client keeps, it does not travel.
    head = 4 * (64 + 1) * 3
    sent = {name: found[name]["bytes_per_client"] for name in found}
    assert sent["ditto"] == sent["fedavg"]
    for way in ("down", "up"):
        assert sent["fedavg"][way] - sent["fedper"][way] == head
