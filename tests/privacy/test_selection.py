"""The price of a search, against an exact computation and the formula of the theorem."""

import math

import dp_accounting as dpa
import numpy as np
import pytest
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
    # Theorem 2 of Papernot and Steinke 2022 for the geometric distribution (shape 1).
    gamma = 1 / mean
    constant = 2 * min(
        (1 - 1 / a) * e + math.log(1 / gamma) / a for a, e in zip(orders, one, strict=True)
    )
    bound = [e + math.log(mean) / (a - 1) + constant for a, e in zip(orders, one, strict=True)]
    assert all(found <= limit for found, limit in zip(exact, bound, strict=True))


@pytest.mark.parametrize(("mean", "best"), [(5, 4.687221223564636), (20, 5.691505938467443)])
def test_a_gaussian_search_by_the_formula(mean, best):
    event = dpa.SelfComposedDpEvent(events.poisson_round(0.05, 1.2), 100)
    paid = selection.price(event, mean, 1e-5)
    orders = np.array(accounting.FINE_ORDERS)
    one = accounting.rdp_of(event)
    assert paid.one == pytest.approx(accounting.improved_epsilon(orders, one, 1e-5)[0])
    constant = 2 * np.min((1 - 1 / orders) * one + math.log(mean) / orders)
    searched = one + math.log(mean) / (orders - 1) + constant
    # Renyi divergences grow with the order.
    searched = np.minimum.accumulate(searched[::-1])[::-1]
    assert paid.best == pytest.approx(accounting.improved_epsilon(orders, searched, 1e-5)[0])
    assert paid.best == pytest.approx(best)


def test_the_number_of_trainings_is_geometric():
    drawn = [selection.draw_trainings(4.0) for _ in range(4000)]
    assert min(drawn) == 1
    # The standard deviation of the mean is 0.055, that of the share of ones 0.007.
    assert np.mean(drawn) == pytest.approx(4.0, abs=0.3)
    assert np.mean(np.array(drawn) == 1) == pytest.approx(0.25, abs=0.04)
