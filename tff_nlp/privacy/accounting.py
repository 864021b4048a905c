"""Epsilon of what happened, by three accountants side by side.

One mechanism has many epsilons: they differ by 10 to 25 % with the accountant and the order grid,
and all are upper bounds. So each is kept with the grid, the adjacency and delta it belongs to.

- `rdp_classic`: Renyi differential privacy, epsilon = min over orders a of rdp(a) - ln(delta)/(a-1)
  (Mironov 2017, proposition 3). On the integer orders of McMahan et al. 2018 it gives the numbers
  that earlier papers print.
- `rdp`: the same with the conversion of Canonne, Kamath and Steinke 2020, proposition 12.
- `pld`: privacy loss distributions, the tightest; rounded up on a grid of losses.
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

# Fine where Gaussian mechanisms of practical size have their best order.
FINE_ORDERS: tuple[float, ...] = (
    *(1 + tenth / 10 for tenth in range(1, 100)),
    *range(11, 64),
    128,
    256,
    512,
    1024,
)
# The moments accountant's, on which McMahan et al. 2018 computed their table 1.
INTEGER_ORDERS: tuple[float, ...] = tuple(range(2, 34))

# Widths of the grid of privacy losses.
_FINEST_INTERVAL, _COARSEST_INTERVAL = 1e-5, 1e-3
# More points of the grid below epsilon would fill the memory.
_MOST_POINTS = 1e6
# Beyond it the distributions leave the range of floating point numbers.
_LARGEST_EPSILON = 1e7

# The distributions leave out losses of this probability, and count them as infinite.
_LEFT_OUT = 1e-15
# Composing a distribution with itself in double precision, by the Fourier transform, moves
# probabilities by up to a twentieth of this for each round, against exact Gaussian mechanisms.
_ROUNDING = 2.2e-16

# Less than this double precision cannot tell from zero, and may get below zero.
_SMALLEST_DIVERGENCE = 1e-14


@dataclasses.dataclass(frozen=True)
class Epsilons:
    """Upper bounds on epsilon at one delta.

    Attributes:
      delta: The delta of all of them.
      adjacency: Which data sets count as neighbours.
      rdp_classic: By Renyi DP with the classic conversion; infinite without noise.
      rdp_classic_order: The order that gave it.
      rdp_classic_orders: The order grid.
      rdp: By Renyi DP with the improved conversion.
      rdp_order: The order that gave it.
      rdp_orders: The order grid.
      pld: By privacy loss distributions; None where that accountant has no answer.
      pld_interval: Width of its grid of privacy losses.
      pld_reason: Why it has no answer; empty where it has one.
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
        """Returns the epsilon of one accountant; infinite where it has none.

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
    """Returns the delta of those who name none: population^-1.1, a little below 1/population."""
    return population**-1.1


def check_delta(delta: float, population: int, unit: str = "client") -> None:
    """Checks that a delta means something for a population.

    Args:
      delta: The probability with which epsilon may not hold.
      population: The number of clients (or examples, or what the unit is).
      unit: What is protected, for the message.

    Raises:
      UserError: If delta is no probability above 0, or above 1/population, where a mechanism may
        publish somebody whole and yet keep its promise.
    """
    if not 0 < delta < 1:
        raise UserError(
            f"--delta={delta:g}: must be between 0 and 1; Gaussian noise promises nothing at 0"
        )
    if delta > 1 / population:
        raise UserError(
            f"--delta={delta:g}: must not exceed 1/population = {1 / population:.3g}, else"
            f" publishing one of {population:,} {unit}s whole would count as private"
        )


def adjacency_of(event: dpa.DpEvent) -> dpa.NeighboringRelation:
    """Returns the neighbouring relation for which an event's noise multipliers are stated."""
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
        # That bound may exceed what holds without any sampling: divergences are quasi-convex, so
        # that a random cohort is no worse than the worst one.
        plain = _rdp_of_round(events.unsampled(event), orders, adjacency)
        found = np.minimum(found, plain)
    return found


def rdp_of(
    event: dpa.DpEvent,
    orders: Sequence[float] = FINE_ORDERS,
    adjacency: dpa.NeighboringRelation = ADD_OR_REMOVE,
) -> np.ndarray:
    """Returns float64[orders], the Renyi divergence of a composition at each order.

    Rounds that were seen before cost nothing, so a run can ask after each round.

    Args:
      event: What happened.
      orders: The order grid.
      adjacency: Which data sets count as neighbours.
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
      orders: The order grid, above 1.
      divergences: float64[orders], the Renyi divergence at each.
      delta: Above 0.
    """
    grid = np.asarray(orders, dtype=np.float64)
    bounds = divergences - math.log(delta) / (grid - 1)
    best = int(np.argmin(bounds))
    # No divergence at all is no loss at all, which the formula cannot express.
    return (float(bounds[best]) if divergences.any() else 0.0), float(grid[best])


def improved_epsilon(
    orders: Sequence[float], divergences: np.ndarray, delta: float
) -> tuple[float, float]:
    """Returns epsilon and its order by Canonne et al. 2020, proposition 12.

    Args:
      orders: The order grid, above 1.
      divergences: float64[orders], the Renyi divergence at each.
      delta: Above 0.
    """
    epsilon, order = rdp.compute_epsilon(list(orders), divergences.tolist(), delta)
    return float(epsilon), float(order)


def pld_epsilon(
    event: dpa.DpEvent, delta: float, bound: float, adjacency: dpa.NeighboringRelation
) -> tuple[float | None, float, str]:
    """Returns epsilon by privacy loss distributions, the grid's interval, and why not to use it.

    Args:
      event: What happened.
      delta: Above 0.
      bound: Epsilon by Renyi divergences, which tells how fine the grid must be.
      adjacency: Which data sets count as neighbours.

    Returns:
      Epsilon; the width of the grid of privacy losses; and why epsilon is not by these
      distributions, empty where it is. Without an answer, epsilon is `bound`, or None where there
      is none for any number of rounds. It is `bound`, too, where that is far beyond any use.
    """
    interval = _first_interval(bound)
    plain = events.simplify(event)
    if not pld.PLDAccountant(adjacency).supports(plain):
        return None, interval, "no method for this sampling"
    if bound > _LARGEST_EPSILON:
        return bound, interval, ""
    # Rounding could make delta seem smaller than it is, and with it epsilon.
    uncertain = _ROUNDING * _convolutions(plain)
    if delta - uncertain <= _LEFT_OUT:
        few_rounds = bound if delta > 2 * _LEFT_OUT else None
        least = _LEFT_OUT + uncertain
        return few_rounds, interval, f"delta is below {least:.2g}, where double precision ends"
    finest = max(_FINEST_INTERVAL, bound / _MOST_POINTS)
    while True:
        accountant = pld.PLDAccountant(adjacency, interval)
        epsilon = float(accountant.compose(plain).get_epsilon(delta - uncertain))
        # A grid's rounding adds up over very many rounds. That it got worse than the looser bound
        # shows it.
        if epsilon <= bound:
            return epsilon, interval, ""
        if interval <= finest:
            return bound, interval, "its rounding leaves it above rdp"
        interval = max(interval / 10, finest)


def _convolutions(event: dpa.DpEvent) -> int:
    """Returns how many distributions are composed; Gaussians without sampling add up exactly."""
    rounds = events.rounds_of(event)
    return sum(count for one, count in rounds if not isinstance(one, dpa.GaussianDpEvent))


def _first_interval(bound: float) -> float:
    """Returns a grid of privacy losses fine enough for an epsilon, coarse enough to be quick.

    A thousandth of epsilon where it is small; where it is beyond use, what keeps the distribution
    below some 100,000 points.
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
    """Returns the epsilons of what happened, by all accountants.

    Args:
      event: The composition of all rounds, as `events.compose` makes it.
      delta: Above 0.
      orders: The order grid of the improved conversion.
      classic_orders: The order grid of the classic conversion.
      adjacency: The relation for which the noise multipliers are stated; by default the one that
        belongs to the kind of sampling.
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
