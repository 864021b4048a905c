"""A run states the accountant's epsilon of all rounds, and no epsilon after a violation."""

import math

import pytest

from tff_nlp.errors import UserError
from tff_nlp.privacy import budget, dp_ftrl, events, guarantee

GOOD = {
    "mechanism": guarantee.GAUSSIAN,
    "population": 10_000,
    "clients_per_round": 100,
    "sampling": guarantee.POISSON,
    "noise_multiplier": 1.1,
    "delta": 1e-5,
}


def tree(**changes):
    bound = dp_ftrl.Participation(max_participations=2, min_separation=9)
    return guarantee.Guarantee(
        **GOOD
        | {"mechanism": "tree_aggregation", "sampling": "cyclic", "participation": bound}
        | changes
    )


def asked(**changes):
    values = {
        "dp": "gaussian",
        "population": 10_000,
        "delta": 1e-5,
        "accountant": "rdp",
        "sampling": "poisson",
        "unit": "client",
        "clients_per_round": 100,
        "noise_multiplier": 1.1,
        "noise_ratio": None,
        "rounds": 50,
        "target_epsilon": None,
        "orders": None,
        "participation": None,
        "restart_every": None,
    }
    return budget.Question(**values | changes)


@pytest.mark.parametrize("accountant", ["rdp_classic", "rdp", "pld"])
def test_epsilon_is_that_of_the_recorded_rounds_and_of_the_calculator(accountant):
    stated_guarantee = guarantee.Guarantee(**GOOD, accountant=accountant)
    stated = stated_guarantee.state([stated_guarantee.round_event()] * 50)
    assert stated_guarantee.epsilon(50) == pytest.approx(stated.epsilons.by(accountant), rel=1e-9)
    answered = budget.answer(asked()).stated
    assert stated.epsilons == answered.epsilons
    assert stated.rounds == 50 and stated.guaranteed


def test_a_fixed_cohort_is_accounted_as_one():
    stated_guarantee = guarantee.Guarantee(**GOOD | {"sampling": guarantee.FIXED})
    stated = stated_guarantee.state([stated_guarantee.round_event()] * 10)
    assert stated.sampling == "fixed_size"
    answered = budget.answer(asked(sampling="fixed_size", rounds=10)).stated
    assert stated.epsilons == answered.epsilons


def test_a_tree_is_accounted_as_a_whole():
    stated_guarantee = tree(restart_every=8)
    stated = stated_guarantee.state([stated_guarantee.round_event()] * 20)
    answered = budget.answer(
        asked(
            dp="tree_aggregation",
            rounds=20,
            participation=stated_guarantee.participation,
            restart_every=8,
        )
    ).stated
    assert stated.epsilons == answered.epsilons
    assert stated_guarantee.epsilon(20) == pytest.approx(stated.epsilons.rdp, rel=1e-9)
    assert stated_guarantee.epsilon(5) < stated_guarantee.epsilon(20)


@pytest.mark.parametrize("stated_guarantee", [guarantee.Guarantee(**GOOD), tree()])
def test_noise_for_a_target_is_the_least(stated_guarantee):
    found = stated_guarantee.with_noise_for(2.0, 30)
    assert 1.999 < found.epsilon(30) <= 2.0


def test_training_ends_before_a_target_is_exceeded():
    stated_guarantee = guarantee.Guarantee(**GOOD)
    target = stated_guarantee.epsilon(17) * 1.0001
    assert stated_guarantee.most_rounds(target, 100) == 17
    assert stated_guarantee.most_rounds(target, 12) == 12
    with pytest.raises(UserError, match="target_epsilon"):
        stated_guarantee.most_rounds(stated_guarantee.epsilon(1) / 2, 100)


def test_no_epsilon_after_a_violation_or_without_noise():
    broken = guarantee.Guarantee(**GOOD, violations=("`sampling`=fixed: no",))
    stated = broken.state([broken.round_event()] * 3)
    assert not stated.guaranteed and stated.line() == "no guarantee: sampling=fixed: no"
    assert stated.in_words().endswith("\nno guarantee sampling=fixed: no")
    assert stated.to_json()["violations"] == ["sampling=fixed: no"]
    assert stated.to_json()["pld"] is None
    silent = guarantee.Guarantee(**GOOD | {"noise_multiplier": 0.0})
    assert math.isinf(silent.epsilon(3))
    assert not silent.state([silent.round_event()] * 3).guaranteed


def test_no_round_costs_nothing():
    assert guarantee.Guarantee(**GOOD).epsilon(0) == 0
    assert events.rounds_of(guarantee.Guarantee(**GOOD).compose([])) == []


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"mechanism": "laplace"}, "dp=laplace"),
        ({"sampling": "cyclic"}, "sampling=cyclic"),
        ({"sampling": "nonsense"}, "sampling=nonsense"),
        ({"mechanism": "distributed"}, "sampling=poisson"),
        ({"mechanism": "tree_aggregation", "sampling": "cyclic"}, "bound on how often"),
        ({"restart_every": 3}, "does not use trees"),
        ({"delta": 0.9}, "delta=0.9"),
        ({"delta": math.nan}, "delta=nan"),
        ({"noise_multiplier": -1.0}, "noise_multiplier=-1"),
        ({"noise_multiplier": math.nan}, "noise_multiplier=nan"),
        ({"clients_per_round": 0}, "clients_per_round=0"),
        ({"clients_per_round": 10_001}, "clients_per_round=10001"),
        ({"accountant": "moments"}, "accountant=moments"),
    ],
)
def test_runs_without_an_accountant_are_refused(changes, flag):
    """These must be refused in Python, too, and not only in scripts."""
    with pytest.raises(UserError, match=flag):
        guarantee.Guarantee(**GOOD | changes)
