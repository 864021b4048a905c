"""What a run may claim: the same as the accountant on the whole, and nothing after a breach."""

import math

import pytest

from tff_nlp.errors import UserError
from tff_nlp.privacy import budget, contract, dp_ftrl, events, guarantee

GOOD = {
    "mechanism": guarantee.GAUSSIAN,
    "population": 10_000,
    "clients_per_round": 100,
    "sampling": guarantee.POISSON,
    "noise_multiplier": 1.1,
    "delta": 1e-5,
}
CONDUCT = {
    "mechanism": guarantee.GAUSSIAN,
    "sampling": guarantee.POISSON,
    "replace_one": False,
    "weighting": "uniform",
    "max_failed_clients": 0,
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
    promised = guarantee.Guarantee(**GOOD, accountant=accountant)
    stated = promised.state([promised.round_event()] * 50)
    assert promised.epsilon(50) == pytest.approx(stated.epsilons.by(accountant), rel=1e-9)
    answered = budget.answer(asked()).stated
    assert stated.epsilons == answered.epsilons
    assert stated.rounds == 50 and stated.guaranteed


def test_a_fixed_cohort_is_accounted_as_one():
    promised = guarantee.Guarantee(**GOOD | {"sampling": guarantee.FIXED})
    stated = promised.state([promised.round_event()] * 10)
    assert stated.sampling == "fixed_size"
    answered = budget.answer(asked(sampling="fixed_size", rounds=10)).stated
    assert stated.epsilons == answered.epsilons


def test_a_tree_is_accounted_as_a_whole():
    promised = tree(restart_every=8)
    stated = promised.state([promised.round_event()] * 20)
    answered = budget.answer(
        asked(
            dp="tree_aggregation",
            rounds=20,
            participation=promised.participation,
            restart_every=8,
        )
    ).stated
    assert stated.epsilons == answered.epsilons
    assert promised.epsilon(20) == pytest.approx(stated.epsilons.rdp, rel=1e-9)
    assert promised.epsilon(5) < promised.epsilon(20)


@pytest.mark.parametrize("promised", [guarantee.Guarantee(**GOOD), tree()])
def test_noise_for_a_target_keeps_it_and_wastes_nothing(promised):
    found = promised.with_noise_for(2.0, 30)
    assert 1.999 < found.epsilon(30) <= 2.0


def test_training_ends_before_a_target_is_exceeded():
    promised = guarantee.Guarantee(**GOOD)
    target = promised.epsilon(17) * 1.0001
    assert promised.most_rounds(target, 100) == 17
    assert promised.most_rounds(target, 12) == 12
    with pytest.raises(UserError, match="--target_epsilon"):
        promised.most_rounds(promised.epsilon(1) / 2, 100)


def test_nothing_is_claimed_after_a_breach_or_without_noise():
    broken = guarantee.Guarantee(**GOOD, violations=("--sampling=fixed: no",))
    stated = broken.state([broken.round_event()] * 3)
    assert not stated.guaranteed and "no guarantee" in stated.line()
    assert stated.to_json()["pld"] is None
    silent = guarantee.Guarantee(**GOOD | {"noise_multiplier": 0.0})
    assert math.isinf(silent.epsilon(3))
    assert not silent.state([silent.round_event()] * 3).guaranteed


def test_no_round_costs_nothing():
    assert guarantee.Guarantee(**GOOD).epsilon(0) == 0
    assert events.rounds_of(guarantee.Guarantee(**GOOD).compose([])) == []


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mechanism": "adaptive_clipping"},
        {"sampling": "fixed", "replace_one": True},
        {"max_failed_clients": 3},
        {"logit_adjustment": 1.0},
        {"mechanism": "tree_aggregation", "sampling": "cyclic"},
        {"mechanism": "distributed", "sampling": "fixed", "replace_one": True},
        {"mechanism": "example_level", "sampling": "fixed"},
    ],
)
def test_a_run_as_the_accountant_assumes_keeps_the_contract(changes):
    assert contract.violations(contract.Conduct(**CONDUCT | changes)) == ()


@pytest.mark.parametrize(
    ("changes", "flag", "advice"),
    [
        ({"sampling": "fixed"}, "--sampling=fixed", "--sampling=poisson"),
        ({"sampling": "cyclic"}, "--sampling=cyclic", "--sampling=poisson"),
        ({"replace_one": True}, "--adjacency=replace_one", "add_or_remove"),
        ({"weighting": "examples"}, "--weighting=examples", "--weighting=uniform"),
        ({"mechanism": "tree_aggregation"}, "--sampling=poisson", "--sampling=cyclic"),
        ({"mechanism": "distributed"}, "--sampling=poisson", "--sampling=fixed"),
        (
            {"mechanism": "distributed", "sampling": "fixed", "max_failed_clients": 1},
            "--max_failed_clients=1",
            "take 0",
        ),
        (
            {"mechanism": "example_level", "weighting": "examples"},
            "--weighting=examples",
            "--weighting=uniform",
        ),
        (
            {"mechanism": "example_level", "sampling": "fixed", "logit_adjustment": 0.5},
            "--logit_adjustment=0.5",
            "take 0",
        ),
    ],
)
def test_each_breach_names_the_flag_and_what_to_change(changes, flag, advice):
    found = contract.violations(contract.Conduct(**CONDUCT | changes))
    assert any(s.startswith(flag) and advice in s for s in found)


@pytest.mark.parametrize(
    ("changes", "flag"),
    [
        ({"mechanism": "laplace"}, "--dp=laplace"),
        ({"sampling": "cyclic"}, "--sampling=cyclic"),
        ({"sampling": "nonsense"}, "--sampling=nonsense"),
        ({"mechanism": "distributed"}, "--sampling=poisson"),
        ({"mechanism": "tree_aggregation", "sampling": "cyclic"}, "bound on how often"),
        ({"restart_every": 3}, "no tree"),
        ({"delta": 0.9}, "--delta=0.9"),
        ({"delta": math.nan}, "--delta=nan"),
        ({"noise_multiplier": -1.0}, "--noise_multiplier=-1"),
        ({"noise_multiplier": math.nan}, "--noise_multiplier=nan"),
        ({"clients_per_round": 0}, "--clients_per_round=0"),
        ({"clients_per_round": 10_001}, "--clients_per_round=10001"),
        ({"accountant": "moments"}, "--accountant=moments"),
    ],
)
def test_what_no_accountant_knows_is_refused(changes, flag):
    """From Python, each of these used to give an epsilon."""
    with pytest.raises(UserError, match=flag):
        guarantee.Guarantee(**GOOD | changes)
