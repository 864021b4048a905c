"""experiments/plan_budget.py as a user calls it."""

import pytest
from absl.testing import flagsaver

from experiments import plan_budget
from experiments.command_line import entry

ARGUMENTS = (
    "--population=100000",
    "--target_epsilon=2",
    "--trainable_parameters=10000",
    "--clients_per_round=100,1000",
    "--rounds=50,500",
)


@pytest.fixture
def call(capsys):
    """Returns (exit code, stdout, stderr) of a call with arguments."""

    def call_with(*arguments):
        saved = flagsaver.save_flag_values(plan_budget.FLAGS)
        try:
            code = entry.status(plan_budget.main, plan_budget.FLAGS, ["plan_budget.py", *arguments])
        finally:
            flagsaver.restore_flag_values(saved, plan_budget.FLAGS)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call_with


def test_table_and_picture(call, tmp_path):
    picture = tmp_path / "plan.png"
    code, out, err = call(*ARGUMENTS, "--signal_to_noise=2", f"--output={picture}")
    assert (code, err) == (0, "")
    assert "epsilon 2 (rdp) at delta 3.16e-06 for one client of 100,000" in out
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("argument", "start"),
    [
        ("--population=0", "--population=0:"),
        ("--target_epsilon=0", "--target_epsilon=0.0:"),
        ("--delta=0", "--delta=0:"),
        ("--delta=1e-4", "--delta=0.0001:"),
        ("--trainable_parameters=0", "--trainable_parameters=0:"),
        ("--update_norm=2", "--update_norm=2.0:"),
        ("--clients_per_round=10,x", "--clients_per_round=10,x: 'x' is not a whole number"),
        (
            "--clients_per_round=10,200000",
            "--clients_per_round=10,200000: 200000 is larger than the population",
        ),
        ("--rounds=0", "--rounds=0: '0' is not"),
        ("--rounds=", "--rounds=: "),
        ("--signal_to_noise=0", "--signal_to_noise=0.0:"),
        (
            "--output=/does/not/exist/plan.png",
            "--output=/does/not/exist/plan.png: there is no folder",
        ),
    ],
)
def test_bad_input_is_one_line_and_code_2(call, argument, start):
    code, out, err = call(*ARGUMENTS, argument)
    assert (code, out) == (2, "")
    assert err.startswith(f"plan_budget.py: {start}"), err
    assert err.count("\n") == 1


def test_what_must_be_given_is_named(call):
    assert call("--population=100")[2].startswith("plan_budget.py: --target_epsilon: must be given")


def test_a_picture_that_cannot_be_written_is_named(call, tmp_path):
    code, out, err = call(*ARGUMENTS, f"--output={tmp_path}")
    assert (code, out) == (2, "")
    assert err.startswith(f"plan_budget.py: --output={tmp_path}: is a folder")
