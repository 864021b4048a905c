"""The epsilon of a search: several private trainings, of which the best one is released.

Papernot and Steinke 2022, "Hyperparameter Tuning with Renyi Differential Privacy" (arXiv
2110.03620), theorem 2 with a geometric number of trainings: their settings are drawn independently
from one distribution, and only the best training is released. If the number were fixed, the choice
could cost as much as all trainings together. A Poisson number (theorem 6) often costs more for ten
trainings or more.
"""

import dataclasses
import secrets
from collections.abc import Sequence

import dp_accounting as dpa
import numpy as np

from tff_nlp.privacy import accounting


@dataclasses.dataclass(frozen=True)
class SelectionPrice:
    """The price of a search, by Renyi differential privacy.

    Attributes:
      one: Epsilon of one training.
      best: Epsilon of the best one of the search.
      mean: Mean number of trainings.
      delta: Probability with which the epsilons may fail.
    """

    one: float
    best: float
    mean: float
    delta: float


def price(
    events: Sequence[dpa.DpEvent],
    mean: float,
    delta: float,
    adjacency: dpa.NeighboringRelation | None = None,
) -> SelectionPrice:
    """Returns the price of a search for the unit that pays most.

    Args:
      events: The rounds of one training, an event for each kind of unit. All trainings of the
        search have the same events.
      mean: Mean of the geometric distribution of the number of trainings, 1 or more.
      delta: Probability with which the epsilons may fail.
      adjacency: Relation that the noise multipliers refer to; None for `adjacency_of(event)`.
    """
    orders = accounting.FINE_ORDERS
    found = []
    for event in events:
        one = accounting.rdp_of(event, orders, adjacency or accounting.adjacency_of(event))
        both = (one, best_of(one, orders, mean))
        found.append([accounting.improved_epsilon(orders, part, delta)[0] for part in both])
    # The unit with the largest epsilon of one training may not be the one that the choice hurts.
    ones, bests = zip(*found, strict=True)
    return SelectionPrice(max(ones), max(bests), mean, delta)


def best_of(one: np.ndarray, orders: Sequence[float], mean: float) -> np.ndarray:
    """Returns the Renyi divergences of the best of a geometric number of trainings.

    Args:
      one: Divergences of one training, float64[orders].
      orders: The orders, ascending, all above 1.
      mean: Mean number of trainings.
    """
    grid = np.asarray(orders)
    constant = 2 * np.min((1 - 1 / grid) * one + np.log(mean) / grid)
    found = one + np.log(mean) / (grid - 1) + constant
    # Divergences grow with the order, so that of a larger order is a bound, too.
    return np.minimum.accumulate(found[::-1])[::-1]


def draw_trainings(mean: float) -> int:
    """Draws the number of trainings from a geometric distribution.

    The number must stay secret, so it comes from the randomness of the operating system.

    Args:
      mean: Its mean, 1 or more.
    """
    generator = np.random.default_rng(secrets.randbits(256))
    return int(generator.geometric(1 / mean))
