"""The epsilon of a run, by three accountants.

The epsilon of a mechanism depends on the accountant and the order grid, by 10 to 25 %. All values
are upper bounds. So each epsilon is kept together with its grid, adjacency and delta.

- `rdp_classic`: Renyi differential privacy, epsilon = min over orders a of rdp(a) - ln(delta)/(a-1)
  (Mironov 2017, proposition 3). On the integer orders of McMahan et al. 2018 it gives the numbers
  of earlier papers.
- `rdp`: the same with the conversion of Canonne, Kamath and Steinke 2020, proposition 12.
- `pld`: privacy loss distributions. It is the tightest, and rounds up on a grid of losses.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import dp_accounting as dpa
import numpy as np
from dp_accounting import pld, rdp

from tff_nlp.errors import UserError
from tff_nlp.privacy import events
from tff_nlp.privacy.names import ACCOUNTANTS

ADD_OR_REMOVE = dpa.NeighboringRelation.ADD_OR_REMOVE_ONE
REPLACE_ONE = dpa.NeighboringRelation.REPLACE_ONE
ZERO_OUT = dpa.NeighboringRelation.REPLACE_SPECIAL

# This grid is fine in the range of the best orders of practical Gaussian mechanisms.
FINE_ORDERS: tuple[float, ...] = (
    *(1 + tenth / 10 for tenth in range(1, 100)),
    *range(11, 64),
    128,
    256,
    512,
    1024,
)
# The grid of the moments accountant, with which McMahan et al. 2018 computed their table 1.
INTEGER_ORDERS: tuple[float, ...] = tuple(range(2, 34))

# Interval of the grid of privacy losses.
_FINEST_INTERVAL, _COARSEST_INTERVAL = 1e-5, 1e-3
# Maximum number of grid points below epsilon. More points would fill the memory.
_MOST_POINTS = 1e6
# Above this epsilon, the distributions leave the range of floating point numbers.
_LARGEST_EPSILON = 1e7

# The distributions leave out losses with this total probability and count them as infinite.
_LEFT_OUT = 1e-15
# Composing distributions in double precision with the Fourier transform changes probabilities by up
# to a twentieth of this per round, compared with exact Gaussian mechanisms.
_ROUNDING = 2.2e-16

# Smaller divergences are rounding errors in double precision, and may even be negative.
_SMALLEST_DIVERGENCE = 1e-14


@dataclasses.dataclass(frozen=True)
class Epsilons:
    """Upper bounds on epsilon at one delta.

    Attributes:
      delta: Probability with which the bounds may fail.
      adjacency: Relation that defines neighbouring data sets.
      rdp_classic: Epsilon by Renyi DP with the classic conversion; infinite without noise.
      rdp_classic_order: The order that gives `rdp_classic`.
      rdp_classic_orders: The order grid of `rdp_classic`.
      rdp: Epsilon by Renyi DP with the improved conversion.
      rdp_order: The order that gives `rdp`.
      rdp_orders: The order grid of `rdp`.
      pld: Epsilon by privacy loss distributions; None if this accountant has no result.
      pld_interval: Interval of its grid of privacy losses.
      pld_reason: Why `pld` is None; otherwise empty.
    """

    delta: float
    adjacency: dpa.NeighboringRelation
    rdp_classic: float
    rdp_classic_order: float
    rdp_classic_orders: tuple[float, ...]
    rdp: float
    rdp_order: float
    rdp_orders: tuple[float, ...]
    pld: float | None
    pld_interval: float
    pld_reason: str = ""

    def by(self, accountant: str) -> float:
        """Returns the epsilon of one accountant, or infinity if it has no result.

        Args:
          accountant: One of `ACCOUNTANTS`.
        """
        epsilon = getattr(self, accountant)
        return math.inf if epsilon is None else epsilon

    @property
    def tightest(self) -> str:
        """The accountant with the smallest epsilon."""
        return min(ACCOUNTANTS, key=self.by)


def default_delta(population: int) -> float:
    """Returns the default of delta: population^-1.1, a little below 1/population."""
    return population**-1.1


def check_delta(delta: float, population: int, unit: str = "client") -> None:
    """Checks that a delta is meaningful for a population.

    Args:
      delta: Probability with which epsilon may fail.
      population: Number of units (clients or examples).
      unit: The protected unit, for the message.

    Raises:
      UserError: If delta is not between 0 and 1, or above 1/population. With such a delta, a
        mechanism that publishes all data of one unit would count as private.
    """
    if not 0 < delta < 1:
        raise UserError(
            f"`delta`={delta:g}: must be above 0 and below 1; Gaussian noise has no guarantee at 0"
        )
    if delta > 1 / population:
        raise UserError(
            f"`delta`={delta:g}: must not exceed 1/population = {1 / population:.3g}; otherwise"
            f" publishing all data of one of {population:,} {unit}s would count as private"
        )


def adjacency_of(event: dpa.DpEvent) -> dpa.NeighboringRelation:
    """Returns the neighbouring relation that an event's noise multipliers refer to."""
    fixed = any(
        isinstance(one, dpa.SampledWithoutReplacementDpEvent) for one, _ in events.rounds_of(event)
    )
    return REPLACE_ONE if fixed else ADD_OR_REMOVE


@functools.lru_cache(maxsize=4096)
def _rdp_of_round(
    event: dpa.DpEvent, orders: tuple[float, ...], adjacency: dpa.NeighboringRelation
) -> np.ndarray:
    accountant = rdp.RdpAccountant(orders, adjacency)
    accountant.compose(event)
    found = np.maximum(accountant.rdp, _SMALLEST_DIVERGENCE)
    if isinstance(event, dpa.SampledWithoutReplacementDpEvent):
        # This bound may be larger than the divergence without sampling. But divergences are
        # quasi-convex, so a random cohort is never worse than the worst one.
        plain = _rdp_of_round(events.unsampled(event), orders, adjacency)
        found = np.minimum(found, plain)
    return found


def rdp_of(
    event: dpa.DpEvent,
    orders: Sequence[float] = FINE_ORDERS,
    adjacency: dpa.NeighboringRelation = ADD_OR_REMOVE,
) -> np.ndarray:
    """Returns the Renyi divergence of a composition at each order, float64[orders].

    The divergences of single rounds are cached, so a run can call this function after each round.

    Args:
      event: The composition of all rounds.
      orders: The order grid.
      adjacency: Relation that defines neighbouring data sets.
    """
    total = np.zeros(len(orders))
    for one, count in events.rounds_of(event):
        total = total + count * _rdp_of_round(events.simplify(one), tuple(orders), adjacency)
    return total


def classic_epsilon(
    orders: Sequence[float], divergences: np.ndarray, delta: float
) -> tuple[float, float]:
    """Returns epsilon and its order by the classic conversion (Mironov 2017, proposition 3).

    Args:
      orders: The order grid. Orders are above 1.
      divergences: Renyi divergence at each order, float64[orders].
      delta: Probability with which epsilon may fail, above 0.
    """
    grid = np.asarray(orders, dtype=np.float64)
    bounds = divergences - math.log(delta) / (grid - 1)
    best = int(np.argmin(bounds))
    # Without any divergence, epsilon is 0. The formula would give a positive epsilon.
    return (float(bounds[best]) if divergences.any() else 0.0), float(grid[best])


def improved_epsilon(
    orders: Sequence[float], divergences: np.ndarray, delta: float
) -> tuple[float, float]:
    """Returns epsilon and its order by Canonne et al. 2020, proposition 12.

    Args:
      orders: The order grid. Orders are above 1.
      divergences: Renyi divergence at each order, float64[orders].
      delta: Probability with which epsilon may fail, above 0.
    """
    epsilon, order = rdp.compute_epsilon(list(orders), divergences.tolist(), delta)
    return float(epsilon), float(order)


def pld_epsilon(
    event: dpa.DpEvent, delta: float, bound: float, adjacency: dpa.NeighboringRelation
) -> tuple[float | None, float, str]:
    """Returns epsilon by privacy loss distributions.

    Args:
      event: The composition of all rounds.
      delta: Probability with which epsilon may fail, above 0.
      bound: Epsilon by Renyi divergences. It determines the interval of the grid.
      adjacency: Relation that defines neighbouring data sets.

    Returns:
      Epsilon, the interval of the grid of privacy losses, and a reason. The reason is empty if
      epsilon comes from the distributions, or if `bound` is so large that it is returned at once.
      Otherwise the reason says why there is no such result. Then epsilon is `bound`, or None if
      there is no result for any number of rounds.
    """
    interval = _first_interval(bound)
    plain = events.simplify(event)
    if not pld.PLDAccountant(adjacency).supports(plain):
        return None, interval, "no method for this sampling"
    if bound > _LARGEST_EPSILON:
        return bound, interval, ""
    # Rounding errors could make the computed delta too small, and with it epsilon.
    uncertain = _ROUNDING * _convolutions(plain)
    if delta - uncertain <= _LEFT_OUT:
        few_rounds = bound if delta > 2 * _LEFT_OUT else None
        least = _LEFT_OUT + uncertain
        return few_rounds, interval, f"delta is below {least:.2g}, where double precision ends"
    finest = max(_FINEST_INTERVAL, bound / _MOST_POINTS)
    while True:
        accountant = pld.PLDAccountant(adjacency, interval)
        epsilon = float(accountant.compose(plain).get_epsilon(delta - uncertain))
        # Over very many rounds, the rounding to the grid adds up. An epsilon above the looser bound
        # shows that the grid is too coarse.
        if epsilon <= bound:
            return epsilon, interval, ""
        if interval <= finest:
            return bound, interval, "its rounding leaves it above rdp"
        interval = max(interval / 10, finest)


def _convolutions(event: dpa.DpEvent) -> int:
    """Returns the number of composed distributions. Gaussians without sampling compose exactly."""
    rounds = events.rounds_of(event)
    return sum(count for one, count in rounds if not isinstance(one, dpa.GaussianDpEvent))


def _first_interval(bound: float) -> float:
    """Returns an interval of the grid that is fine enough for an epsilon, and fast.

    It is a thousandth of epsilon if epsilon is small. For a very large epsilon it limits the grid
    to about 100,000 points.
    """
    if not math.isfinite(bound):
        return _COARSEST_INTERVAL
    return max(min(_COARSEST_INTERVAL, max(bound / 1000, _FINEST_INTERVAL)), bound / 1e5)


def epsilons(
    event: dpa.DpEvent,
    delta: float,
    orders: Sequence[float] = FINE_ORDERS,
    classic_orders: Sequence[float] = INTEGER_ORDERS,
    adjacency: dpa.NeighboringRelation | None = None,
) -> Epsilons:
    """Returns the epsilons of a run, by all accountants.

    Args:
      event: The composition of all rounds, from `events.compose`.
      delta: Probability with which epsilon may fail, above 0.
      orders: The order grid of the improved conversion.
      classic_orders: The order grid of the classic conversion.
      adjacency: Relation that the noise multipliers refer to. The default depends on the sampling,
        see `adjacency_of`.
    """
    adjacency = adjacency or adjacency_of(event)
    fine = rdp_of(event, orders, adjacency)
    coarse = rdp_of(event, classic_orders, adjacency)
    classic, classic_order = classic_epsilon(classic_orders, coarse, delta)
    improved, order = improved_epsilon(orders, fine, delta)
    loss, interval, reason = pld_epsilon(event, delta, improved, adjacency)
    return Epsilons(
        delta=delta,
        adjacency=adjacency,
        rdp_classic=classic,
        rdp_classic_order=classic_order,
        rdp_classic_orders=tuple(classic_orders),
        rdp=improved,
        rdp_order=order,
        rdp_orders=tuple(orders),
        pld=None if reason else loss,
        pld_interval=interval,
        pld_reason=reason,
    )
