"""--algorithm in whole runs: each runs when it is the only flag, and goes on after a stop."""

import json
import re

import pytest

from tests.experiments import conftest
from tests.experiments.test_resume import check_same

SMALL = {"num_clients": 8, "rounds": 3, "client_test_fraction": 0, "trainable": "head"}


@pytest.mark.parametrize("algorithm", ["scaffold", "mime_lite"])
def test_a_stopped_run_ends_as_an_undisturbed_one(tmp_path, run_train, algorithm):
    folder, flags = tmp_path / "stopped", {**SMALL, "algorithm": algorithm}
    with conftest.copying(folder):
        ended = run_train(tmp_path / "whole", **flags)
    assert ended.code == 0, ended.err
    assert run_train(folder, **flags).code == 0
    check_same(folder, tmp_path / "whole", 3)
    states = list((folder / "client_states").glob("*/*.npz"))
    if algorithm == "scaffold":
        kept = sorted(p.relative_to(folder).as_posix() for p in states)
        whole = tmp_path / "whole"
        assert kept == sorted(
            p.relative_to(whole).as_posix() for p in (whole / "client_states").glob("*/*.npz")
        )
        for path in kept:
            assert (folder / path).read_bytes() == (whole / path).read_bytes()
    assert bool(states) == (algorithm == "scaffold")


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
    ],
)
def test_what_does_not_go_together(tmp_path, run_train, flags, message):
    ended = run_train(tmp_path / "run", **{**SMALL, **flags})
    assert ended.code == 2
    (line,) = ended.err.strip().splitlines()[-1:]

    assert re.search(message, line)
    assert not (tmp_path / "run").exists()
