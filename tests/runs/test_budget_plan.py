"""A budget plan as a call: what it prints, what it returns and what it draws."""

import json

import matplotlib.image
import pytest

from tff_nlp.errors import UserError
from tff_nlp.runs import budget_plan
from tff_nlp.runs.configs.budget_plan import BudgetPlanConfig

SMALL = {
    "population": 100_000,
    "target_epsilon": 2.0,
    "trainable_parameters": 10_000,
    "clients_per_round": "100,1000",
    "rounds": "50,500",
}


def test_table_and_picture(capsys, tmp_path, drawn):
    picture = tmp_path / "plan.png"
    planned = budget_plan.plan(BudgetPlanConfig(**SMALL, signal_to_noise=2.0, output=str(picture)))
    out = capsys.readouterr().out
    assert "epsilon 2 (rdp) at delta 3.16e-06 for one client of 100,000" in out
    rows = [line.lstrip("* ").split() for line in out.splitlines()]
    assert {(row[0], row[1]) for row in rows if len(row) == 7 and row[0] in ("100", "1,000")} == {
        ("100", "50"),
        ("100", "500"),
        ("1,000", "50"),
        ("1,000", "500"),
    }
    assert "smallest cohorts with a signal-to-noise of 2 or more in each round:" in out
    assert all(point.signal_to_noise >= 1.999 for point in planned.serving.values())
    image = matplotlib.image.imread(picture)
    assert image.shape[0] > 400
    # Lines of several colours, not an empty frame.
    assert len({tuple(pixel) for pixel in image[::7, ::7, :3].reshape(-1, 3)}) > 20
    markers = [line.get_marker() for line in drawn[0].axes[0].lines[:2]]
    assert len(set(markers)) == 2, "lines differ in grey, too"


def test_json(capsys):
    budget_plan.plan(BudgetPlanConfig(**SMALL, signal_to_noise=1e6, json=True))
    found = json.loads(capsys.readouterr().out)
    assert [point["clients_per_round"] for point in found["points"]] == [100, 1000, 100, 1000]
    assert all(point["epsilon"] <= 2 for point in found["points"])
    assert found["serving_the_wish"] == {"50": None, "500": None}


def test_a_wish_that_nothing_serves_is_said(capsys):
    config = BudgetPlanConfig(**{**SMALL, "rounds": "50"}, signal_to_noise=1e6)
    assert budget_plan.plan(config).serving == {50: None}
    assert "  50 rounds: impossible, even with all 100,000 clients" in capsys.readouterr().out


@pytest.mark.parametrize("delta", [0.0, 1e-4])
def test_a_delta_that_protects_nobody_is_refused(delta):
    with pytest.raises(UserError, match=f"delta={delta:g}: must"):
        budget_plan.plan(BudgetPlanConfig(**SMALL, delta=delta))
