"""experiments/plan_budget.py as a user calls it."""

import json

import matplotlib.figure
import matplotlib.image
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


def test_table_and_picture(call, tmp_path, monkeypatch):
    picture, figures = tmp_path / "plan.png", []
    save = matplotlib.figure.Figure.savefig

    def savefig(figure, *arguments, **named):
        figures.append(figure)
        save(figure, *arguments, **named)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", savefig)
    code, out, err = call(*ARGUMENTS, "--signal_to_noise=2", f"--output={picture}")
    assert (code, err) == (0, "")
    assert "epsilon 2 (rdp) at delta 3.16e-06 for one client of 100,000" in out
    rows = [line.lstrip("* ").split() for line in out.splitlines()]
    assert {(row[0], row[1]) for row in rows if len(row) == 7 and row[0] in ("100", "1,000")} == {
        ("100", "50"),
        ("100", "500"),
        ("1,000", "50"),
        ("1,000", "500"),
    }
    assert "smallest cohorts with a signal-to-noise of 2 or more in each round:" in out
    image = matplotlib.image.imread(picture)
    assert image.shape[0] > 400
    # Lines of several colours, not an empty frame.
    assert len({tuple(pixel) for pixel in image[::7, ::7, :3].reshape(-1, 3)}) > 20
    markers = [line.get_marker() for line in figures[0].axes[0].lines[:2]]
    assert len(set(markers)) == 2, "lines differ in grey, too"


def test_json(call):
    code, out, _ = call(*ARGUMENTS, "--signal_to_noise=1e6", "--json")
    assert code == 0
    found = json.loads(out)
    assert [point["clients_per_round"] for point in found["points"]] == [100, 1000, 100, 1000]
    assert all(point["epsilon"] <= 2 for point in found["points"])
    assert found["serving_the_wish"] == {"50": None, "500": None}


@pytest.mark.parametrize(
    ("argument", "start"),
    [
        ("--population=0", "--population=0:"),
        ("--target_epsilon=0", "--target_epsilon=0:"),
        ("--delta=0", "--delta=0:"),
        ("--delta=1e-4", "--delta=0.0001:"),
        ("--trainable_parameters=0", "--trainable_parameters=0:"),
        ("--update_norm=2", "--update_norm=2:"),
        ("--clients_per_round=10,x", "--clients_per_round: 'x' is not a whole number"),
        ("--clients_per_round=200000", "--clients_per_round: 200000 is larger than the population"),
        ("--rounds=0", "--rounds: '0' is not"),
        ("--rounds=", "--rounds: "),
        ("--signal_to_noise=0", "--signal_to_noise=0:"),
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
