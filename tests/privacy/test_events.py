"""Events of rounds: merging, simplifying, saving."""

import json
import math

import dp_accounting as dpa
import numpy as np
import pytest

from tff_nlp.privacy import events

ROUND = events.poisson_round(0.1, 1.5)
OTHER = events.poisson_round(0.1, 2.0)


def test_equal_neighbours_are_counted_and_order_is_kept():
    event = events.compose([ROUND, ROUND, OTHER, ROUND, dpa.NoOpDpEvent()])
    assert events.rounds_of(event) == [(ROUND, 2), (OTHER, 1), (ROUND, 1)]


def test_composing_round_by_round_equals_composing_at_once():
    grown = events.compose([])
    for one in [ROUND, ROUND, OTHER, OTHER, ROUND]:
        grown = events.compose([grown, one])
    assert grown == events.compose([ROUND, ROUND, OTHER, OTHER, ROUND])


def test_nested_compositions_are_unfolded():
    nested = dpa.SelfComposedDpEvent(dpa.SelfComposedDpEvent(ROUND, 3), 4)
    assert events.rounds_of(nested) == [(ROUND, 12)]


def test_no_rounds():
    assert events.rounds_of(events.compose([])) == []


@pytest.mark.parametrize(
    "event",
    [
        ROUND,
        events.everybody_round(0.7),
        events.fixed_size_round(100, 10, 1.0),
        events.compose([ROUND, ROUND, OTHER]),
        dpa.NoOpDpEvent(),
        dpa.NonPrivateDpEvent(),
        dpa.PoissonSampledDpEvent(
            0.2, dpa.ComposedDpEvent([dpa.GaussianDpEvent(1.0), dpa.GaussianDpEvent(2.0)])
        ),
    ],
)
def test_saved_events_come_back(event):
    assert events.from_json(json.loads(json.dumps(events.to_json(event)))) == event


def test_numbers_as_tff_returns_them_can_be_saved():
    event = dpa.GaussianDpEvent(np.float32(1.5))
    assert events.from_json(json.loads(json.dumps(events.to_json(event)))).noise_multiplier == 1.5


def test_other_values_than_saved_events_are_refused():
    with pytest.raises(ValueError, match="not a saved event"):
        events.from_json({"kind": "unknown"})
    with pytest.raises(ValueError, match="cannot save"):
        events.to_json(dpa.LaplaceDpEvent(1.0))


def test_noise_multipliers():
    assert events.noise_multiplier_of(ROUND) == 1.5
    assert events.noise_multiplier_of(events.fixed_size_round(100, 10, 1.5)) == 1.5
    assert events.noise_multiplier_of(events.everybody_round(0.0)) == 0.0
    assert events.noise_multiplier_of(dpa.LaplaceDpEvent(1.0)) is None
    two = dpa.ComposedDpEvent([dpa.GaussianDpEvent(3.0), dpa.GaussianDpEvent(4.0)])
    assert events.noise_multiplier_of(two) == pytest.approx(1 / math.hypot(1 / 3, 1 / 4))


def test_simplified_rounds_have_the_same_divergence():
    two = dpa.ComposedDpEvent([dpa.GaussianDpEvent(3.0), dpa.GaussianDpEvent(4.0)])
    event = dpa.SelfComposedDpEvent(dpa.PoissonSampledDpEvent(0.1, two), 7)
    plain = events.simplify(event)
    assert dpa.pld.PLDAccountant().supports(plain)
    orders = [1.5, 4, 32]
    before = dpa.rdp.RdpAccountant(orders).compose(event).get_epsilon(1e-6)
    after = dpa.rdp.RdpAccountant(orders).compose(plain).get_epsilon(1e-6)
    assert after == pytest.approx(before, rel=1e-12)
