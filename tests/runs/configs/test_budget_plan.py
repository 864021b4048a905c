"""The config of a budget plan: its lists of numbers, and its ranges."""

import pytest

from tff_nlp.errors import UserError
from tff_nlp.runs.configs.budget_plan import BudgetPlanConfig

GIVEN = {"population": 1000, "target_epsilon": 2.0}


def test_lists_are_sorted_and_distinct():
    config = BudgetPlanConfig(**GIVEN, rounds="30, 7,30", clients_per_round="1000,2")
    assert config.round_counts() == [7, 30]
    assert config.cohort_sizes() == [2, 1000]
    assert BudgetPlanConfig(**GIVEN).cohort_sizes() == []
    assert BudgetPlanConfig(**GIVEN).round_counts() == [100, 300, 1000, 3000]


@pytest.mark.parametrize("name", ["rounds", "clients_per_round"])
@pytest.mark.parametrize("text", ["1,", "-1", "1.5", "\N{SUPERSCRIPT TWO}", "9" * 5000])
def test_bad_lists(name, text):
    with pytest.raises(UserError, match=f"{name}="):
        BudgetPlanConfig(**GIVEN, **{name: text})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"population": None}, "population: must be given"),
        ({"target_epsilon": None}, "target_epsilon: must be given"),
        ({"population": 1}, "population=1: must be 2 or more"),
        ({"target_epsilon": 0.0}, "target_epsilon=0.0: must be above 0"),
        ({"trainable_parameters": 0}, "trainable_parameters=0: must be 1 or more"),
        ({"update_norm": 1.5}, "update_norm=1.5: must be above 0 and at most 1"),
        ({"signal_to_noise": 0.0}, "signal_to_noise=0.0: must be above 0"),
        ({"clients_per_round": "2,1001"}, "1001 is larger than the population of 1,000"),
    ],
)
def test_values_out_of_range_are_named(changes, message):
    with pytest.raises(UserError) as raised:
        BudgetPlanConfig(**{**GIVEN, **changes})
    assert message in str(raised.value)
