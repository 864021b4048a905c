"""The third from any two: epsilon, noise multiplier and cohort (or rounds).

Each search takes a mechanism as a function of the searched value and finds the value's limit; the
result always keeps the target, rounding is to the private side.
"""

import math
from collections.abc import Callable

import dp_accounting as dpa
from scipy import optimize

from tff_nlp.errors import UserError
from tff_nlp.privacy import accounting, names

EpsilonOf = Callable[[dpa.DpEvent], float]

LARGEST_NOISE = names.MOST_NOISE
SMALLEST_NOISE = 1e-2
MOST_ROUNDS = 1_000_000
# Noise is searched for to this relative precision.
_PRECISION = 1e-6


def epsilon_by(
    accountant: str,
    delta: float,
    orders: tuple[float, ...] = accounting.FINE_ORDERS,
    classic_orders: tuple[float, ...] = accounting.INTEGER_ORDERS,
    adjacency: dpa.NeighboringRelation | None = None,
) -> EpsilonOf:
    """Returns a function from an event to its epsilon by one accountant, doing no other's work.

    Args:
      accountant: One of `accounting.ACCOUNTANTS`.
      delta: Above 0.
      orders: The order grid of the improved conversion, which `pld` too needs.
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
            raise UserError(f"--accountant=pld: {reason}; take --accountant=rdp")
        return tight

    return epsilon


def check_accountant(accountant: str) -> None:
    """Checks that there is such an accountant.

    Raises:
      UserError: If there is none.
    """
    if accountant not in accounting.ACCOUNTANTS:
        names = ", ".join(accounting.ACCOUNTANTS)
        raise UserError(f"--accountant={accountant}: choose one of {names}")


def smallest_noise(
    event_of: Callable[[float], dpa.DpEvent],
    target_epsilon: float,
    epsilon_of: EpsilonOf,
    near: float | None = None,
) -> float:
    """Returns the smallest noise multiplier whose epsilon does not exceed a target.

    Args:
      event_of: The mechanism, all rounds of it, of a noise multiplier.
      target_epsilon: The epsilon that may be reached.
      epsilon_of: The accountant.
      near: A noise multiplier somewhat above the result, if one is known; saves most of the work.

    Raises:
      UserError: If no noise reaches it: with a finite order grid, epsilon has a floor.
    """
    check_target(target_epsilon)

    def excess(log_noise: float) -> float:
        epsilon = epsilon_of(event_of(math.exp(log_noise)))
        # Compared as logarithms, epsilon is nearly a straight line, which the search likes.
        return math.log(max(epsilon, 1e-12) / target_epsilon) if epsilon < math.inf else 700.0

    low, high = _noise_bracket(excess, near)
    if excess(high) > 0:
        floor = epsilon_of(event_of(LARGEST_NOISE))
        raise UserError(
            f"--target_epsilon={target_epsilon:g}: no noise reaches it, this accountant's epsilon"
            f" stays above {floor:.3g} however large the noise"
        )
    if excess(low) <= 0:
        return math.exp(low)
    root = optimize.brentq(excess, low, high, xtol=_PRECISION, rtol=1e-12)
    while excess(root) > 0:
        root += _PRECISION
    return math.exp(root)


def _noise_bracket(excess: Callable[[float], float], near: float | None) -> tuple[float, float]:
    """Returns logarithms of noise around the target, or the end of what can be searched."""
    step = math.log(4)
    if near is not None:
        low, high = math.log(near) - 0.02, math.log(near) + 1e-9
        if excess(high) <= 0 < excess(low):
            return low, high
    low, high = math.log(SMALLEST_NOISE), math.log(LARGEST_NOISE)
    # Walking up, the accountants' slow region of next to no noise is left at once.
    upper = low
    while upper < high and excess(upper) > 0:
        low, upper = upper, min(upper + step, high)
    return low, upper


def _largest(fits: Callable[[int], bool], most: int) -> int:
    """Returns the largest value in 1..most that fits, 0 if none does; what fits is an interval."""
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
    """Returns the largest cohort whose epsilon does not exceed a target, at a fixed noise.

    Args:
      event_of: The mechanism of a cohort.
      population: The largest cohort there can be.
      target_epsilon: The epsilon that may be reached.
      epsilon_of: The accountant.

    Raises:
      UserError: If a single client per round exceeds it already.
    """
    check_target(target_epsilon)
    cohort = _largest(lambda n: epsilon_of(event_of(n)) <= target_epsilon, population)
    if cohort == 0:
        raise UserError(
            f"--target_epsilon={target_epsilon:g}: exceeded with one client per round already"
            f" (epsilon {epsilon_of(event_of(1)):.3g}): raise --noise_multiplier or lower --rounds"
        )
    return cohort


def smallest_cohort(
    event_of: Callable[[int], dpa.DpEvent],
    population: int,
    target_epsilon: float,
    epsilon_of: EpsilonOf,
) -> int:
    """Returns the smallest cohort that keeps a target when the noise grows with the cohort.

    With the noise on the *mean* held fixed, a larger cohort means a larger noise multiplier, which
    wins over the larger chance to take part.

    Args:
      event_of: The mechanism of a cohort, whose noise multiplier is in proportion to it.
      population: The largest cohort there can be.
      target_epsilon: The epsilon that may be reached.
      epsilon_of: The accountant.

    Raises:
      UserError: If the whole population in each round does not keep it.
    """
    check_target(target_epsilon)
    too_small = _largest(lambda n: epsilon_of(event_of(n)) > target_epsilon, population)
    if too_small == population:
        raise UserError(
            f"--target_epsilon={target_epsilon:g}: exceeded even with all {population:,} clients in"
            f" each round (epsilon {epsilon_of(event_of(population)):.3g}): raise --noise_ratio or"
            " lower --rounds"
        )
    return too_small + 1


def most_rounds(
    event_of: Callable[[int], dpa.DpEvent], target_epsilon: float, epsilon_of: EpsilonOf
) -> int:
    """Returns how many rounds a target allows, at most `MOST_ROUNDS`.

    Args:
      event_of: The mechanism of a number of rounds.
      target_epsilon: The epsilon that may be reached.
      epsilon_of: The accountant.

    Raises:
      UserError: If a single round exceeds it already.
    """
    check_target(target_epsilon)
    rounds = _largest(lambda n: epsilon_of(event_of(n)) <= target_epsilon, MOST_ROUNDS)
    if rounds == 0:
        raise UserError(
            f"--target_epsilon={target_epsilon:g}: exceeded after one round already (epsilon"
            f" {epsilon_of(event_of(1)):.3g}): raise --noise_multiplier or lower"
            " --clients_per_round"
        )
    return rounds


def check_target(target_epsilon: float) -> None:
    """Checks that a target epsilon is one.

    Raises:
      UserError: If it is not a positive number.
    """
    if not 0 < target_epsilon < math.inf:
        raise UserError(f"--target_epsilon={target_epsilon:g}: must be above 0 and finite")
