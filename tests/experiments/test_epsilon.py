"""experiments/epsilon.py as a user calls it."""

import json
import pathlib
import subprocess
import sys

import pytest
from absl.testing import flagsaver

from experiments import epsilon
from experiments.command_line import entry

ROOT = pathlib.Path(epsilon.__file__).resolve().parents[1]


@pytest.fixture
def call(capsys):
    """Returns (exit code, stdout, stderr) of a call with arguments."""

    def call_with(*arguments):
        saved = flagsaver.save_flag_values(epsilon.FLAGS)
        try:
            code = entry.status(epsilon.main, epsilon.FLAGS, ["epsilon.py", *arguments])
        finally:
            flagsaver.restore_flag_values(saved, epsilon.FLAGS)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call_with


TUTORIAL = ("--population=3383", "--rounds=100", "--delta=1e-5")


GOOD = (*TUTORIAL, "--clients_per_round=120", "--noise_multiplier=1.2")


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        ((*GOOD, "--delta=0"), "--delta=0:"),
        ((*GOOD, "--delta=1e-3"), "--delta=0.001: must not exceed 1/population"),
        ((*GOOD, "--delta=-1"), "--delta=-1:"),
        ((*GOOD, "--noise_multiplier=-1"), "--noise_multiplier=-1.0:"),
        ((*GOOD, "--noise_multiplier=nan"), "--noise_multiplier=nan:"),
        (
            (*GOOD, "--clients_per_round=4000"),
            "--clients_per_round=4000: larger than the population",
        ),
        ((*GOOD, "--clients_per_round=0"), "--clients_per_round=0:"),
        ((*GOOD, "--rounds=0"), "--rounds=0:"),
        ((*GOOD, "--rounds=x"), "flag --rounds=x"),
        ((*GOOD, "--population=1"), "--population=1:"),
        ((*GOOD, "--target_epsilon=2"), "--target_epsilon=2.0: nothing is left to find"),
        ((*GOOD, "--noise_ratio=.01"), "--noise_ratio=0.01: replaces"),
        ((*GOOD, "--min_separation=3"), "--min_separation=3: belongs to"),
        ((*GOOD, "--dp=tree_aggregation"), "--max_participations: must be given"),
        ((*GOOD, "--orders=x"), "--orders=x: 'x'"),
        ((*GOOD, "--sampling=whim"), "flag --sampling=whim"),
        (TUTORIAL, "--noise_multiplier: too little is known"),
        (("--rounds=5",), "--population: must be given"),
        (
            (*TUTORIAL, "--clients_per_round=120", "--target_epsilon=-2"),
            "--target_epsilon=-2.0: must be above 0",
        ),
        (
            (
                *TUTORIAL,
                "--clients_per_round=120",
                "--target_epsilon=.1",
                "--accountant=rdp_classic",
            ),
            "--target_epsilon=0.1: no noise reaches it",
        ),
        (
            (*TUTORIAL, "--noise_multiplier=.01", "--target_epsilon=.1"),
            "--target_epsilon=0.1: already exceeded with one client per round",
        ),
        (
            (*GOOD, "--dp=adaptive_clipping", "--clients_per_round=12"),
            "--noise_multiplier=1.2: adaptive clipping needs it below 1.2",
        ),
        ((*GOOD, "epsilon"), "unexpected argument 'epsilon'"),
    ],
)
def test_bad_input_is_one_line_and_code_2(call, arguments, start):
    code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"epsilon.py: {start}"), err
    assert err.count("\n") == 1


def test_words_and_json(call):
    arguments = (*TUTORIAL, "--noise_ratio=.01", "--target_epsilon=2")
    code, out, err = call(*arguments)
    assert (code, err) == (0, "")
    assert "found: --clients_per_round=120, the smallest that keeps rdp at 2 or below" in out
    found = json.loads(call(*arguments, "--json")[1])
    assert (found["found"], found["clients_per_round"]) == ("clients_per_round", 120)


def test_as_a_script():
    done = subprocess.run(
        [sys.executable, "experiments/epsilon.py", *GOOD, "--json"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rounds"] == 100
