"""experiments/epsilon.py as a user calls it."""

import json
import pathlib
import subprocess
import sys

import pytest
from absl.testing import flagsaver

from experiments import epsilon
from experiments.command_line import entry
from tff_nlp.errors import UserError

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


@pytest.fixture
def answers(call):
    """Returns the JSON of a call that succeeds."""

    def answers_with(*arguments):
        code, out, err = call(*arguments, "--json")
        assert (code, err) == (0, ""), err
        return json.loads(out)

    return answers_with


TUTORIAL = ("--population=3383", "--rounds=100", "--delta=1e-5")


def test_epsilon_of_noise_and_cohort(answers):
    found = answers(*TUTORIAL, "--clients_per_round=120", "--noise_multiplier=1.2")
    assert round(found["rdp"], 4) == 1.9861
    assert round(found["pld"], 4) == 1.7075
    assert found["found"] == "epsilon"


def test_tables_of_papers_with_the_default_grids(answers):
    # Delta is the population to the power of -1.1 by default, as in McMahan et al. 2018.
    found = answers(
        "--population=1000000",
        "--clients_per_round=10000",
        "--noise_multiplier=1",
        "--rounds=10000",
    )
    assert round(found["rdp_classic"], 2) == 8.49
    assert found["delta"] == pytest.approx(1e6**-1.1)
    found = answers(
        "--population=763430",
        "--clients_per_round=5000",
        "--noise_multiplier=1",
        "--rounds=5000",
        "--delta=1e-9",
    )
    assert round(found["rdp_classic"], 3) == 4.634
    assert round(found["rdp"], 3) == 4.183
    assert found["pld"] == pytest.approx(3.903, abs=1e-3)


def test_noise_of_epsilon_and_cohort(answers):
    found = answers(*TUTORIAL, "--clients_per_round=120", "--target_epsilon=2")
    assert found["found"] == "noise_multiplier"
    assert found["noise_multiplier"] == pytest.approx(1.1959, abs=1e-4)
    assert 1.9999 < found["rdp"] <= 2


def test_largest_cohort_of_epsilon_and_noise(answers):
    found = answers(*TUTORIAL, "--noise_multiplier=1.2", "--target_epsilon=2")
    assert (found["found"], found["clients_per_round"]) == ("clients_per_round", 120)


def test_smallest_cohort_of_the_tff_tutorial(answers):
    found = answers(*TUTORIAL, "--noise_ratio=.01", "--target_epsilon=2")
    assert found["clients_per_round"] == 120
    assert found["noise_multiplier"] == pytest.approx(1.2)


def test_rounds_of_epsilon_noise_and_cohort(answers):
    found = answers(
        "--population=3383",
        "--delta=1e-5",
        "--clients_per_round=120",
        "--noise_multiplier=1.2",
        "--target_epsilon=2",
    )
    assert (found["found"], found["rounds"]) == ("rounds", 101)


def test_another_accountant_may_hold_the_target(answers):
    found = answers(
        *TUTORIAL, "--clients_per_round=120", "--target_epsilon=2", "--accountant=rdp_classic"
    )
    assert 1.9999 < found["rdp_classic"] <= 2
    assert found["rdp"] < 1.9


def test_adaptive_clipping_shows_its_split(answers, call):
    arguments = (
        *TUTORIAL,
        "--dp=adaptive_clipping",
        "--clients_per_round=120",
        "--noise_multiplier=1.2",
    )
    found = answers(*arguments)
    assert f"{found['noise_split']['updates']:.10f}" == "1.2060453783"
    assert round(found["rdp"], 4) == 1.9861
    assert "noise split: 1.206045378 on the updates, 6 clients" in call(*arguments)[1]


TREE = ("--dp=tree_aggregation", "--population=342477", "--clients_per_round=100", "--delta=1e-6")


def test_trees(answers):
    once = ("--max_participations=1", "--min_separation=0")
    found = answers(*TREE, *once, "--rounds=1600", "--noise_multiplier=8.83")
    assert found["squared_sensitivity"] == 11
    assert found["rdp"] < 2.04
    assert round(found["rdp_classic"], 3) == 2.045
    found = answers(*TREE, *once, "--rounds=1600", "--target_epsilon=2")
    assert 8.83 > found["noise_multiplier"] > 7
    restarted = ("--max_participations=4", "--min_separation=399", "--restart_every=400")
    found = answers(*TREE, *restarted, "--rounds=1600", "--noise_multiplier=8.83")
    assert found["squared_sensitivity"] == 36
    found = answers(*TREE, *restarted, "--noise_multiplier=8.83", "--target_epsilon=2")
    assert found["rdp"] <= 2
    assert 1 < found["rounds"] < 1600


def test_words_say_what_was_found(call):
    code, out, err = call(*TUTORIAL, "--noise_ratio=.01", "--target_epsilon=2")
    assert (code, err) == (0, "")
    assert "found: --clients_per_round=120, the smallest that keeps rdp at 2 or below" in out
    assert "add or remove one client" in out
    assert "without amplification" in out


def test_grids_can_be_chosen(answers):
    found = answers(
        *TUTORIAL, "--clients_per_round=120", "--noise_multiplier=1.2", "--orders=2..33"
    )
    assert found["rdp_orders"] == found["rdp_classic_orders"] == "orders 2..33 by 1"
    assert found["rdp"] > 1.9861


@pytest.mark.parametrize(
    ("text", "orders"),
    [
        ("2..5", (2, 3, 4, 5)),
        ("1.1..1.4:0.1", (1.1, 1.2, 1.3, 1.4)),
        ("1.5,8,64", (1.5, 8, 64)),
    ],
)
def test_order_grids(text, orders):
    assert epsilon.parse_orders(text) == orders


@pytest.mark.parametrize(
    "text", ["", "a", "2..", "2..5:0", "1..3", "0.5", "5..2", "2..1e9", "nan", "inf", "2..inf"]
)
def test_bad_order_grids(text):
    with pytest.raises(UserError, match="^--orders"):
        epsilon.parse_orders(text)


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
        ((*GOOD, "--target_epsilon=2"), "--target_epsilon: nothing is left to find"),
        ((*GOOD, "--noise_ratio=.01"), "--noise_ratio: replaces"),
        ((*GOOD, "--min_separation=3"), "--min_separation: belongs to"),
        ((*GOOD, "--dp=tree_aggregation"), "--max_participations: must be given"),
        ((*GOOD, "--orders=x"), "--orders: 'x'"),
        ((*GOOD, "--sampling=whim"), "flag --sampling=whim"),
        (TUTORIAL, "--noise_multiplier: too little is known"),
        (("--rounds=5",), "--population: must be given"),
        (
            (*TUTORIAL, "--clients_per_round=120", "--target_epsilon=-2"),
            "--target_epsilon=-2: must be above 0",
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


def test_no_noise_is_said_to_be_none(call, answers):
    arguments = (*TUTORIAL, "--clients_per_round=120", "--noise_multiplier=0")
    assert "infinite" in call(*arguments)[1]
    found = answers(*arguments)
    assert found["guaranteed"] is False
    assert found["rdp"] is found["pld"] is None


def test_as_a_script():
    done = subprocess.run(
        [sys.executable, "experiments/epsilon.py", *GOOD, "--json"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rounds"] == 100
