"""--algorithm in whole runs: each runs when it is the only flag, and goes on after a stop."""

import csv
import json
import re

import pytest

from tests.experiments import conftest
from tests.experiments.test_resume import check_same
from tff_nlp.runs import saved_run
from tff_nlp.runs.configs import federated

SMALL = {"num_clients": 8, "rounds": 3, "client_test_fraction": 0, "trainable": "head"}


KEEP_STATES = ("scaffold", "fedper", "fedbuff", "ditto", "fedmd", "dsfl")
# The clients of these are scored with their own models, and some of them have none.
OWN = {"rounds": 2, "clients_per_round": 2, "client_test_fraction": 0.3}
FLAGS = {
    "fedper": {**OWN, "trainable": "biases"},
    "ditto": {**OWN, "client_learning_rate": 0.05},
    "fedbuff": {"clients_per_round": 2, "concurrency": 4, "device_profiles": "phones"},
    "fedmd": OWN,
    "dsfl": {"rounds": 2, "trainable": "all", "client_encoders": "random:1x16,random:2x32"},
}


@pytest.mark.thorough
@pytest.mark.parametrize(
    "algorithm",
    [
        "scaffold",
        # tests/runs/test_matrix.py resumes each algorithm.
        *(pytest.param(name, marks=pytest.mark.slow) for name in federated.ALGORITHMS[3:]),
    ],
)
def test_a_stopped_run_ends_as_an_undisturbed_one(tmp_path, run_train, algorithm):
    flags = {**SMALL, **FLAGS.get(algorithm, {}), "algorithm": algorithm}
    folder = tmp_path / "stopped"
    with conftest.copying(folder):
        ended = run_train(tmp_path / "whole", **flags)
    assert ended.code == 0, ended.err
    assert run_train(folder, **flags).code == 0
    check_same(folder, tmp_path / "whole", flags["rounds"])
    if algorithm in ("fedper", "ditto", "fedmd"):
        check_own_models(folder, tmp_path / "whole")
    states = list((folder / "client_states").glob("*/*.npz"))
    if algorithm in KEEP_STATES:
        kept = sorted(p.relative_to(folder).as_posix() for p in states)
        whole = tmp_path / "whole"
        assert kept == sorted(
            p.relative_to(whole).as_posix() for p in (whole / "client_states").glob("*/*.npz")
        )
        for path in kept:
            assert (folder / path).read_bytes() == (whole / path).read_bytes()
    assert bool(states) == (algorithm in KEEP_STATES)
    if algorithm in federated.DISTILLING:
        # An audit reads the same texts, without those that were set apart.
        assert len(saved_run.load(folder).texts.public) > 0


def check_own_models(folder, whole):
    """Compares two runs, and the scores of clients that kept a model with those that have none."""
    assert (folder / "personal.csv").read_text() == (whole / "personal.csv").read_text()
    found = json.loads((folder / "result.json").read_text())["personal"]
    with (folder / "personal.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert (found["how"], found["clients"]) == ("own_model", len(rows))
    never = [row for row in rows if row["took_part"] == "False"]
    assert len(never) == found["never_sampled"] > 0
    # They count with the final model.
    assert all(row["before"] == row["after"] for row in never)


@pytest.mark.slow
def test_scaffold_steps_with_plain_sgd_and_says_so(tmp_path, run_train):
    ended = run_train(tmp_path / "run", **SMALL, algorithm="scaffold")
    assert ended.code == 0, ended.err
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["client_optimizer"], config["client_learning_rate"]) == ("sgd", 0.003)
    sent = json.loads((tmp_path / "run" / "result.json").read_text())["bytes_per_client"]
    assert sent["other_down"] > sent["down"] and sent["other_up"] > sent["up"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"algorithm": "scaffold", "client_optimizer": "adamw"}, "plain sgd"),
        ({"algorithm": "fedprox", "proximal_strength": 0}, "--proximal_strength=0"),
        (
            {"algorithm": "scaffold", "dp": "gaussian", "noise_multiplier": 1},
            "--algorithm=scaffold: .*no accountant",
        ),
        (
            {"algorithm": "mime_lite", "dp": "gaussian", "noise_multiplier": 1},
            "--algorithm=mime_lite: .*no accountant",
        ),
        (
            {"algorithm": "ditto", "dp": "example_level", "noise_multiplier": 1},
            "--algorithm=ditto: clients have models of their own",
        ),
        ({"algorithm": "ditto", "ditto_strength": 0}, "--ditto_strength=0"),
        ({"algorithm": "qfedavg", "fairness_q": -1}, "--fairness_q=-1"),
        ({"algorithm": "qfedavg", "client_optimizer": "adamw"}, "plain sgd"),
        ({"algorithm": "fedper"}, "--algorithm=fedper: only the head trains"),
        (
            {
                "algorithm": "feddf",
                "dp": "gaussian",
                "noise_multiplier": 1,
                "public_corpus": "reviews.csv",
            },
            "--algorithm=feddf: .*no accountant",
        ),
        (
            {"algorithm": "fedmd", "dp": "gaussian", "noise_multiplier": 1},
            "--public_corpus: must be given with --dp=gaussian",
        ),
        ({"algorithm": "fedmd", "public_corpus": "none.csv"}, "--public_corpus=none.csv"),
        (
            {"algorithm": "fedmd", "client_encoders": "random:1"},
            "--client_encoders=random:1: .*random:LAYERSxWIDTH",
        ),
        (
            {
                "algorithm": "fedmd",
                "client_encoders": "random:1x16",
                "personalize": "own_model",
                "client_test_fraction": 0.1,
            },
            "--personalize=own_model: the models of --client_encoders",
        ),
        (
            {"algorithm": "dsfl", "task": "language_model", "label_column": None},
            "--algorithm=dsfl: .*--task=classification",
        ),
        (
            {"algorithm": "fedmd", "adapter": "lora", "lora_aggregation": "flora"},
            "--lora_aggregation=flora: .*--algorithm=fedmd sends no weights",
        ),
        (
            {
                "algorithm": "fedmd",
                "dp": "gaussian",
                "noise_multiplier": 1,
                "audit_canaries": 10,
                "public_corpus": "reviews.csv",
            },
            "--audit_canaries: a canary .*--algorithm=fedmd",
        ),
        ({"personalize": "fine_tune"}, "--personalize=fine_tune: needs test examples"),
        (
            {
                "personalize": "fine_tune",
                "client_test_fraction": 0.1,
                "client_validation_fraction": 0,
            },
            "--personalize=fine_tune: chooses the steps on validation examples",
        ),
        (
            {"personalize": "own_model", "client_test_fraction": 0.1},
            "--personalize=own_model: .*--algorithm=fedavg",
        ),
        (
            {"personalize": "fine_tune", "algorithm": "ditto", "client_test_fraction": 0.1},
            "--personalize=fine_tune: .*--algorithm=ditto",
        ),
    ],
)
def test_what_does_not_go_together(tmp_path, run_train, reviews, flags, message):
    if flags.get("public_corpus") == reviews.name:
        flags = {**flags, "public_corpus": reviews}
    ended = run_train(tmp_path / "run", **{**SMALL, **flags})
    assert ended.code == 2
    (line,) = ended.err.strip().splitlines()[-1:]

    assert re.search(message, line)
    assert not (tmp_path / "run").exists()
