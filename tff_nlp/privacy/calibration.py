"""Searches for the noise multiplier, the cohort or the number of rounds that keep a target epsilon.

Each search takes a mechanism as a function of the searched value, and finds the limit of the value.
The result always keeps the target: it is rounded to the private side.
"""

import math
from collections.abc import Callable

import dp_accounting as dpa
from scipy import optimize

from tff_nlp.errors import UserError, setting
from tff_nlp.privacy import accounting, names

EpsilonOf = Callable[[dpa.DpEvent], float]

LARGEST_NOISE = names.MOST_NOISE
SMALLEST_NOISE = 1e-2
# Relative precision of the search for the noise.
_PRECISION = 1e-6


def epsilon_by(
    accountant: str,
    delta: float,
    orders: tuple[float, ...] = accounting.FINE_ORDERS,
    classic_orders: tuple[float, ...] = accounting.INTEGER_ORDERS,
    adjacency: dpa.NeighboringRelation | None = None,
) -> EpsilonOf:
    """Returns a function: event -> epsilon by one accountant. It does no work for the others.

    The function raises UserError if the accountant has no result for the event.

    Args:
      accountant: One of `accounting.ACCOUNTANTS`.
      delta: Probability with which epsilon may fail, above 0.
      orders: The order grid of the improved conversion. `pld` needs it, too.
      classic_orders: The order grid of the classic conversion.
      adjacency: As for `accounting.epsilons`.
    """

    def epsilon(event: dpa.DpEvent) -> float:
        relation = adjacency or accounting.adjacency_of(event)
        if accountant == "rdp_classic":
            divergences = accounting.rdp_of(event, classic_orders, relation)
            return accounting.classic_epsilon(classic_orders, divergences, delta)[0]
        divergences = accounting.rdp_of(event, orders, relation)
        bound = accounting.improved_epsilon(orders, divergences, delta)[0]
        if accountant == "rdp":
            return bound
        tight, _, reason = accounting.pld_epsilon(event, delta, bound, relation)
        if tight is None:
            raise UserError(f"`accountant`=pld: {reason}; use `accountant`=rdp")
        return tight

    return epsilon


def check_accountant(accountant: str) -> None:
    """Checks the name of an accountant.

    Raises:
      UserError: If there is no such accountant.
    """
    if accountant not in accounting.ACCOUNTANTS:
        known = ", ".join(accounting.ACCOUNTANTS)
        raise UserError(f"{setting('accountant', accountant)}: choose one of {known}")


def smallest_noise(
    event_of: Callable[[float], dpa.DpEvent],
    target_epsilon: float,
    epsilon_of: EpsilonOf,
    near: float | None = None,
) -> float:
    """Returns the smallest noise multiplier that keeps a target epsilon.

    Args:
      event_of: Noise multiplier -> event of all rounds.
      target_epsilon: Largest allowed epsilon.
      epsilon_of: Event -> epsilon.
      near: A noise multiplier slightly above the result, if one is known. It saves most of the
        work.

    Raises:
      UserError: If no noise is large enough. With a finite order grid, epsilon has a lower limit.
    """
    check_target(target_epsilon)

    def excess(log_noise: float) -> float:
        epsilon = epsilon_of(event_of(math.exp(log_noise)))
        # On logarithmic scales, epsilon is nearly a straight line. This makes the search fast.
        return math.log(max(epsilon, 1e-12) / target_epsilon) if epsilon < math.inf else 700.0

    low, high = _noise_bracket(excess, near)
    if excess(high) > 0:
        floor = epsilon_of(event_of(LARGEST_NOISE))
        raise UserError(
            f"`target_epsilon`={target_epsilon:g}: no noise reaches it; with any noise, this"
            f" accountant's epsilon is above {floor:.3g}"
        )
    if excess(low) <= 0:
        return math.exp(low)
    root = optimize.brentq(excess, low, high, xtol=_PRECISION, rtol=1e-12)
    while excess(root) > 0:
        root += _PRECISION
    return math.exp(root)


def _noise_bracket(excess: Callable[[float], float], near: float | None) -> tuple[float, float]:
    """Returns logarithms of two noise multipliers around the target, or at an end of the range."""
    step = math.log(4)
    if near is not None:
        low, high = math.log(near) - 0.02, math.log(near) + 1e-9
        if excess(high) <= 0 < excess(low):
            return low, high
    low, high = math.log(SMALLEST_NOISE), math.log(LARGEST_NOISE)
    # Accountants are slow for very small noise, so the search starts there and leaves it at once.
    upper = low
    while upper < high and excess(upper) > 0:
        low, upper = upper, min(upper + step, high)
    return low, upper


def _largest(fits: Callable[[int], bool], most: int) -> int:
    """Returns the largest value in 1..most that fits, or 0. All values up to it must fit, too."""
    if not fits(1):
        return 0
    low, high = 1, 2
    while high < most and fits(high):
        low, high = high, 2 * high
    if high >= most:
        if fits(most):
            return most
        high = most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def largest_cohort(
    event_of: Callable[[int], dpa.DpEvent],
    population: int,
    target_epsilon: float,
    epsilon_of: EpsilonOf,
) -> int:
    """Returns the largest cohort that keeps a target epsilon with a fixed noise multiplier.

    Args:
      event_of: Cohort size -> event of all rounds.
      population: Largest possible cohort.
      target_epsilon: Largest allowed epsilon.
      epsilon_of: Event -> epsilon.

    Raises:
      UserError: If a single client per round already exceeds the target.
    """
    check_target(target_epsilon)
    cohort = _largest(lambda n: epsilon_of(event_of(n)) <= target_epsilon, population)
    if cohort == 0:
        raise UserError(
            f"`target_epsilon`={target_epsilon:g}: already exceeded with one client per round"
            f" (epsilon {epsilon_of(event_of(1)):.3g}): raise `noise_multiplier` or lower `rounds`"
        )
    return cohort


def smallest_cohort(
    event_of: Callable[[int], dpa.DpEvent],
    population: int,
    target_epsilon: float,
    epsilon_of: EpsilonOf,
) -> int:
    """Returns the smallest cohort that keeps a target epsilon with a fixed noise on the mean.

    With a fixed noise on the mean, the noise multiplier grows with the cohort. This outweighs the
    larger probability that a client takes part.

    Args:
      event_of: Cohort size -> event of all rounds. The noise multiplier is proportional to the
        cohort.
      population: Largest possible cohort.
      target_epsilon: Largest allowed epsilon.
      epsilon_of: Event -> epsilon.

    Raises:
      UserError: If even the whole population in each round exceeds the target.
    """
    check_target(target_epsilon)
    too_small = _largest(lambda n: epsilon_of(event_of(n)) > target_epsilon, population)
    if too_small == population:
        raise UserError(
            f"`target_epsilon`={target_epsilon:g}: exceeded even with all {population:,} clients in"
            f" each round (epsilon {epsilon_of(event_of(population)):.3g}): raise `noise_ratio` or"
            " lower `rounds`"
        )
    return too_small + 1


def most_rounds(
    event_of: Callable[[int], dpa.DpEvent], target_epsilon: float, epsilon_of: EpsilonOf
) -> int:
    """Returns the largest number of rounds that keeps a target epsilon, at most a million.

    Args:
      event_of: Number of rounds -> event of all rounds.
      target_epsilon: Largest allowed epsilon.
      epsilon_of: Event -> epsilon.

    Raises:
      UserError: If a single round already exceeds the target.
    """
    check_target(target_epsilon)
    rounds = _largest(lambda n: epsilon_of(event_of(n)) <= target_epsilon, names.MOST_ROUNDS)
    if rounds == 0:
        raise UserError(
            f"`target_epsilon`={target_epsilon:g}: already exceeded after one round (epsilon"
            f" {epsilon_of(event_of(1)):.3g}): raise `noise_multiplier` or lower"
            " `clients_per_round`"
        )
    return rounds


def check_target(target_epsilon: float) -> None:
    """Checks that a target epsilon is positive and finite.

    Raises:
      UserError: If it is not.
    """
    if not 0 < target_epsilon < math.inf:
        raise UserError(f"`target_epsilon`={target_epsilon:g}: must be above 0 and finite")
