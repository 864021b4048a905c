"""The price of a search, against an exact computation and the formula of the theorem."""

import dp_accounting as dpa
import numpy as np
import pytest
from dp_accounting import dp_event, rdp
from scipy import special

from tff_nlp.privacy import accounting, events, selection


def chosen(outputs, mean, most=400):
    """Returns the exact distribution of the best of a geometric number of independent outputs.

    Args:
      outputs: Probability of each output, the worst first.
      mean: Mean of the number of outputs.
      most: Largest number that is summed.
    """
    below = np.concatenate([[0.0], np.cumsum(outputs)])
    stop = 1 / mean
    total = np.zeros(len(outputs))
    for count in range(1, most):
        total += stop * (1 - stop) ** (count - 1) * np.diff(below**count)
    return total / total.sum()


def divergence(p, q, order):
    # A large order leaves the range of floating point numbers.
    return special.logsumexp(order * np.log(p) + (1 - order) * np.log(q)) / (order - 1)


@pytest.mark.parametrize("mean", [1.5, 5, 20])
def test_the_best_of_many_never_costs_more_than_the_price(mean):
    # A mechanism with three outputs on two neighbouring data sets.
    p, q = np.array([0.6, 0.3, 0.1]), np.array([0.5, 0.3, 0.2])
    orders = accounting.FINE_ORDERS
    one = [max(divergence(p, q, a), divergence(q, p, a)) for a in orders]
    best = [chosen(p, mean), chosen(q, mean)]
    exact = [max(divergence(*best, a), divergence(*best[::-1], a)) for a in orders]
    bound = selection.best_of(np.array(one), orders, mean)
    assert all(found <= limit for found, limit in zip(exact, bound, strict=True))


@pytest.mark.parametrize("mean", [1, 5, 20])
def test_dp_accounting_has_the_same_price(mean):
    event = dpa.SelfComposedDpEvent(events.poisson_round(0.05, 1.2), 100)
    paid = selection.price([event], mean, 1e-5)
    for found, composed in (
        (paid.one, event),
        (paid.best, dp_event.RepeatAndSelectDpEvent(event, mean, shape=1)),
    ):
        accountant = rdp.RdpAccountant(accounting.FINE_ORDERS, accounting.ADD_OR_REMOVE)
        accountant.compose(composed)
        assert found == pytest.approx(accountant.get_epsilon(1e-5))


def test_the_unit_that_pays_most_counts():
    # The first event costs more alone, the second one costs more after the choice.
    kinds = [
        dpa.SelfComposedDpEvent(events.poisson_round(0.5, 0.7), 4),
        dpa.SelfComposedDpEvent(events.poisson_round(0.1, 0.7), 58),
    ]
    first, second = (selection.price([kind], 20, 1e-3) for kind in kinds)
    assert first.one > second.one and first.best < second.best
    both = selection.price(kinds, 20, 1e-3)
    assert (both.one, both.best) == (first.one, second.best)


def test_the_number_of_trainings_is_geometric():
    drawn = [selection.draw_trainings(4.0) for _ in range(4000)]
    assert min(drawn) == 1
    # The standard deviation of the mean is 0.055, that of the share of ones 0.007.
    assert np.mean(drawn) == pytest.approx(4.0, abs=0.3)
    assert np.mean(np.array(drawn) == 1) == pytest.approx(0.25, abs=0.04)
