"""The epsilon of each silo follows from its own steps."""

import collections

import dp_accounting as dpa
import pytest
from dp_accounting import rdp

from tff_nlp.errors import UserError
from tff_nlp.privacy import accounting, example_level

SILOS = (
    example_level.Silo("large", 1000, 0.032, 32),
    example_level.Silo("small", 100, 0.32, 4),
)


def stated_guarantee(**changes):
    values = {"silos": SILOS, "noise_multiplier": 1.3, "delta": 1e-4}
    return example_level.ExampleGuarantee(**values | changes)


def epsilon_by_hand(rate, steps, noise=1.3):
    accountant = rdp.RdpAccountant(accounting.FINE_ORDERS)
    accountant.compose(dpa.PoissonSampledDpEvent(rate, dpa.GaussianDpEvent(noise)), steps)
    return accountant.get_epsilon(1e-4)


def test_each_silo_has_the_epsilon_of_its_own_steps():
    records = [stated_guarantee().record(cohort) for cohort in ([0, 1], [0], [0, 1])]
    stated = stated_guarantee().statement_of(records)
    expected = {"large": epsilon_by_hand(0.032, 96), "small": epsilon_by_hand(0.32, 8)}
    assert dict(stated.by_silo) == pytest.approx(expected, rel=1e-6)
    worst = max(expected, key=expected.get)
    assert stated.epsilons.rdp == pytest.approx(expected[worst], rel=1e-6)
    assert stated.unit == "example" and "steps" in stated.line()
    assert stated_guarantee().epsilon_of(records) == pytest.approx(expected[worst], rel=1e-6)
    assert stated.to_json()["epsilon_by_client"] == pytest.approx(expected, rel=1e-6)


def test_the_noise_keeps_the_target_of_every_silo():
    taken = collections.Counter({"large": 5, "small": 9})
    found = stated_guarantee().with_noise_for(1.5, taken)
    spent = [
        epsilon_by_hand(s.rate, s.steps * taken[s.name], found.noise_multiplier) for s in SILOS
    ]
    assert 1.499 < max(spent) <= 1.5


def test_no_epsilon_after_a_violation_and_none_without_silos():
    assert stated_guarantee().epsilon_of([]) == 0
    broken = stated_guarantee(violations=("`weighting`=examples: no",))
    stated = broken.statement_of([broken.record([1])])
    assert not stated.guaranteed
    assert set(stated.to_json()["epsilon_by_client"].values()) == {None}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"silos": ()}, "no clients"),
        ({"noise_multiplier": -1.0}, "noise_multiplier=-1"),
        ({"delta": 0.9}, "delta=0.9"),
        ({"accountant": "moments"}, "accountant=moments"),
    ],
)
def test_values_out_of_range_are_refused(changes, words):
    with pytest.raises(UserError, match=words):
        stated_guarantee(**changes)


def test_a_sampling_rate_above_one_is_refused():
    with pytest.raises(UserError, match="not a valid sampling"):
        example_level.Silo("small", 100, 1.5, 4)
