"""The cohorts, noise multipliers and rounds that a privacy budget allows, and their signal."""

import dataclasses
from collections.abc import Callable, Sequence

import dp_accounting as dpa

from tff_nlp.errors import UserError
from tff_nlp.privacy import accounting, calibration, events, signal

# With this grid, the noise is within one percent of the fine grid's, for a tenth of the cost.
_COARSE_ORDERS = (*(1.5 + half / 2 for half in range(18)), *range(11, 64, 4), 128, 512)


@dataclasses.dataclass(frozen=True)
class Budget:
    """A privacy budget and the properties of the task.

    Attributes:
      population: Number of clients that may be drawn.
      target_epsilon: Largest allowed epsilon.
      delta: Probability with which epsilon may fail, above 0 and at most 1/population.
      accountant: Accountant that is compared with the target.
      parameters: Number of trained parameters. Each of them gets noise.
      update_norm: L2 norm of the mean of the clipped updates over the clipping norm. It is 1 if all
        clients send the same update with the clipping norm; in practice it is smaller.
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
      clients_per_round: Expected cohort size, with Poisson sampling.
      rounds: Number of rounds.
      noise_multiplier: Noise multiplier that keeps the target.
      epsilon: Epsilon of the run, by the budget's accountant.
      noise_on_mean: Standard deviation of the noise on the mean update over the clipping norm.
      signal_to_noise: Signal-to-noise ratio of one round: norm of the mean update over the expected
        norm of its noise.
      signal_to_noise_of_run: The same ratio for the sum over all rounds, if all rounds have the
        same update.
      participations: Expected number of rounds in which a client takes part.
      best: Whether no other point has at least as much signal for at most as much work of clients.
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
        """Number of updates that all clients compute in the whole run."""
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
    """Returns the point of each cohort and number of rounds. The best points are marked.

    Args:
      budget: The budget.
      cohorts: Expected cohort sizes, each at most the population.
      rounds: Numbers of rounds.
      done: Function that is called after each point.

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
    """Returns the smallest noise that keeps the target. It searches mostly on a coarse order grid.

    Every order grid gives a valid bound. The fine orders around the best coarse order give the same
    noise as all fine orders, except at the ends of the grid, where the noise is a little larger.
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
    """Returns the points with `best` set."""
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
    """Returns the point with the smallest cohort that reaches a signal-to-noise ratio.

    Args:
      budget: The budget.
      wish: Wanted signal-to-noise ratio of one round.
      rounds: Number of rounds.

    Returns:
      The point, with the largest noise that reaches the ratio. None if even the whole population in
      each round does not reach it.
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
    """Returns the cohorts 50, 100, 200, 500, 1000, ... up to half of the population.

    For a population below 100 it returns only half of the population.
    """
    series = [digit * 10**power for power in range(1, 12) for digit in (1, 2, 5)]
    return [cohort for cohort in series if 50 <= cohort <= population / 2] or [
        max(1, population // 2)
    ]
