"""Which cohorts, noises and rounds a privacy budget allows, and how much signal each leaves."""

import dataclasses
from collections.abc import Callable, Sequence

import dp_accounting as dpa

from tff_nlp.errors import UserError
from tff_nlp.privacy import accounting, calibration, events, signal

# Comes within a percent of the noise that the fine grid allows, at a tenth of its cost.
_COARSE_ORDERS = (*(1.5 + half / 2 for half in range(18)), *range(11, 64, 4), 128, 512)


@dataclasses.dataclass(frozen=True)
class Budget:
    """What is given.

    Attributes:
      population: How many clients may be drawn.
      target_epsilon: The epsilon that may be reached.
      delta: Above 0, at most 1/population.
      accountant: Whose epsilon is held against the target.
      parameters: How many parameters are trained, and so get noise.
      update_norm: L2 norm of the mean of the clipped updates over the clipping norm: 1 when all
        clients' updates are as long as the clipping norm and alike, less in truth.
    """

    population: int
    target_epsilon: float
    delta: float
    accountant: str
    parameters: int
    update_norm: float = 1.0


@dataclasses.dataclass(frozen=True)
class Point:
    """One way to spend the budget.

    Attributes:
      clients_per_round: The expected cohort, drawn as Poisson samples.
      rounds: How many.
      noise_multiplier: The smallest that keeps the target.
      epsilon: What is reached, by the budget's accountant.
      noise_on_mean: Standard deviation of the noise on the mean update, over the clipping norm.
      signal_to_noise: Of one round: norm of the mean update over the expected norm of its noise.
      signal_to_noise_of_run: The same for the sum over all rounds, were their updates alike.
      participations: In how many rounds a client is expected to take part.
      best: Whether no other point has as much signal in its run for as little work of clients.
    """

    clients_per_round: int
    rounds: int
    noise_multiplier: float
    epsilon: float
    noise_on_mean: float
    signal_to_noise: float
    signal_to_noise_of_run: float
    participations: float
    best: bool = False

    @property
    def work(self) -> int:
        """Updates that clients compute in the whole run."""
        return self.clients_per_round * self.rounds


def _run(budget: Budget, cohort: int, noise: float, rounds: int) -> dpa.DpEvent:
    one = events.poisson_round(cohort / budget.population, noise)
    return events.compose([dpa.SelfComposedDpEvent(one, rounds)])


def _point(budget: Budget, cohort: int, noise: float, rounds: int, epsilon: float) -> Point:
    stddev = signal.noise_on_mean(noise, 1.0, cohort)
    ratio = signal.signal_to_noise(budget.update_norm, stddev, budget.parameters)
    return Point(
        clients_per_round=cohort,
        rounds=rounds,
        noise_multiplier=noise,
        epsilon=epsilon,
        noise_on_mean=stddev,
        signal_to_noise=ratio,
        signal_to_noise_of_run=ratio * rounds**0.5,
        participations=rounds * cohort / budget.population,
    )


def plan(
    budget: Budget,
    cohorts: Sequence[int],
    rounds: Sequence[int],
    done: Callable[[], object] = lambda: None,
) -> list[Point]:
    """Returns the point of each cohort and number of rounds, the best ones marked.

    Args:
      budget: What is given.
      cohorts: Expected cohorts, each at most the population.
      rounds: Numbers of rounds.
      done: Called after each point.

    Raises:
      UserError: If no noise keeps the target.
    """
    epsilon_of = calibration.epsilon_by(budget.accountant, budget.delta)
    points = []
    for count in rounds:
        for cohort in cohorts:

            def run(noise: float, cohort: int = cohort, count: int = count) -> dpa.DpEvent:
                return _run(budget, cohort, noise, count)

            noise = _smallest_noise(budget, run)
            points.append(_point(budget, cohort, noise, count, epsilon_of(run(noise))))
            done()
    return mark_best(points)


def _smallest_noise(budget: Budget, run: Callable[[float], dpa.DpEvent]) -> float:
    """Returns the smallest noise that keeps the target, most of the search on few orders.

    Any orders give a true bound. The fine ones around the best coarse one give the same as all fine
    ones, but for cases at the ends of the grid, which get a little more noise than they need.
    """
    coarse = calibration.epsilon_by("rdp", budget.delta, _COARSE_ORDERS)
    near = calibration.smallest_noise(run, budget.target_epsilon, coarse)
    divergences = accounting.rdp_of(run(near), _COARSE_ORDERS)
    best = accounting.improved_epsilon(_COARSE_ORDERS, divergences, budget.delta)[1]
    window = tuple(
        order for order in accounting.FINE_ORDERS if best / 1.5 <= order <= max(best * 1.5, 2)
    )
    fine = calibration.epsilon_by(budget.accountant, budget.delta, window)
    return calibration.smallest_noise(run, budget.target_epsilon, fine, near)


def mark_best(points: Sequence[Point]) -> list[Point]:
    """Returns the points with `best` set where nobody gets as much signal for as little work."""
    return [
        dataclasses.replace(
            point,
            best=not any(
                other.work <= point.work
                and other.signal_to_noise_of_run >= point.signal_to_noise_of_run
                and (other.work, other.signal_to_noise_of_run)
                != (point.work, point.signal_to_noise_of_run)
                for other in points
            ),
        )
        for point in points
    ]


def smallest_that_serves(budget: Budget, wish: float, rounds: int) -> Point | None:
    """Returns the point of the smallest cohort with at least a wished signal-to-noise per round.

    Args:
      budget: What is given.
      wish: The signal-to-noise ratio of one round.
      rounds: How many.

    Returns:
      The point, its noise the largest that the wish allows; None if not even the whole population
      in each round serves.
    """
    ratio = budget.update_norm / (wish * budget.parameters**0.5)
    epsilon_of = calibration.epsilon_by(budget.accountant, budget.delta)
    try:
        cohort = calibration.smallest_cohort(
            lambda n: _run(budget, n, ratio * n, rounds),
            budget.population,
            budget.target_epsilon,
            epsilon_of,
        )
    except UserError:
        return None
    noise = ratio * cohort
    return _point(budget, cohort, noise, rounds, epsilon_of(_run(budget, cohort, noise, rounds)))


def usual_cohorts(population: int) -> list[int]:
    """Returns 50, 100, 200, 500, 1000, ... up to half of the population."""
    series = [digit * 10**power for power in range(1, 12) for digit in (1, 2, 5)]
    return [cohort for cohort in series if 50 <= cohort <= population / 2] or [
        max(1, population // 2)
    ]


def check(budget: Budget) -> None:
    """Checks a budget.

    Raises:
      UserError: Naming the flag whose value is out of range.
    """
    if budget.population < 2:
        raise UserError(f"--population={budget.population}: must be at least 2")
    calibration.check_target(budget.target_epsilon)
    accounting.check_delta(budget.delta, budget.population)
    if budget.parameters < 1:
        raise UserError(f"--trainable_parameters={budget.parameters}: must be at least 1")
    if not 0 < budget.update_norm <= 1:
        raise UserError(
            f"--update_norm={budget.update_norm:g}: must be above 0 and at most 1, clipped updates"
            " average to no more than the clipping norm"
        )
