"""The epsilon of a search: several private trainings, of which the best one is released.

Papernot and Steinke 2022, "Hyperparameter Tuning with Renyi Differential Privacy" (arXiv
2110.03620), theorem 2 with a geometric number of trainings: their settings are drawn independently
from one distribution, and only the best training is released. If the number were fixed, the choice
could cost as much as all trainings together. A Poisson number (theorem 6) costs more for ten
trainings or more.
"""

import dataclasses
import secrets

import dp_accounting as dpa
import numpy as np
from dp_accounting import dp_event, rdp

from tff_nlp.privacy import accounting

# Shape of the truncated negative binomial distribution that is geometric.
_GEOMETRIC = 1.0


@dataclasses.dataclass(frozen=True)
class SelectionPrice:
    """The price of a search.

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
    event: dpa.DpEvent,
    mean: float,
    delta: float,
    adjacency: dpa.NeighboringRelation | None = None,
) -> SelectionPrice:
    """Returns the price of a search by Renyi differential privacy.

    Args:
      event: The rounds of one training. All trainings of the search have the same event.
      mean: Mean of the geometric distribution of the number of trainings, 1 or more.
      delta: Probability with which the epsilons may fail.
      adjacency: Relation that the noise multipliers refer to; None for `adjacency_of(event)`.
    """
    adjacency = adjacency or accounting.adjacency_of(event)
    selected = dp_event.RepeatAndSelectDpEvent(event, mean, _GEOMETRIC)
    return SelectionPrice(
        _epsilon(event, delta, adjacency), _epsilon(selected, delta, adjacency), mean, delta
    )


def draw_trainings(mean: float) -> int:
    """Returns a geometric number of trainings, from the system's randomness: nobody may know it.

    Args:
      mean: Its mean, 1 or more.
    """
    generator = np.random.default_rng(secrets.randbits(256))
    return int(generator.geometric(1 / mean))


def _epsilon(event: dpa.DpEvent, delta: float, adjacency: dpa.NeighboringRelation) -> float:
    accountant = rdp.RdpAccountant(accounting.FINE_ORDERS, adjacency)
    accountant.compose(event)
    return float(accountant.get_epsilon(delta))
