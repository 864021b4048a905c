"""The clients that take part in a round. They depend only on the seed and the round."""

import math
from collections.abc import Callable

import numpy as np

from tff_nlp import seeds
from tff_nlp.errors import UserError


def fixed_size_cohort(
    seed: int, round_number: int, population: int, clients_per_round: int
) -> np.ndarray:
    """Draws a cohort of fixed size, uniformly and without replacement.

    Time and memory grow with the cohort, not with the population.

    Args:
      seed: Seed of the run.
      round_number: The round.
      population: Number of clients.
      clients_per_round: Number of clients that take part.

    Returns:
      int64[clients_per_round], distinct client positions in ascending order.

    Raises:
      UserError: If the cohort is empty or larger than the population.
    """
    _check_cohort(clients_per_round, population)
    rng = seeds.generator(seed, "cohort", round_number)
    return _sample(rng, population, clients_per_round)


def cyclic_cohort(
    seed: int, round_number: int, population: int, clients_per_round: int
) -> np.ndarray:
    """Draws cohorts that go through all clients in a fixed random order, again and again.

    Between two rounds of a client there are at least population // clients_per_round - 1 other
    rounds. In T rounds a client takes part at most ceil(T / (population // clients_per_round))
    times. DP-FTRL needs this bound on the participation (Kairouz et al. 2021, section 4). If
    clients_per_round does not divide the population, the remaining clients never train.

    Args:
      seed: Seed of the run.
      round_number: The round.
      population: Number of clients.
      clients_per_round: Number of clients that take part.

    Returns:
      int64[clients_per_round], distinct client positions in ascending order.

    Raises:
      UserError: If the cohort is empty or larger than the population.
    """
    _check_cohort(clients_per_round, population)
    order = seeds.generator(seed, "cyclic_cohort").permutation(population)
    first = round_number % (population // clients_per_round) * clients_per_round
    return np.sort(order[first : first + clients_per_round]).astype(np.int64, copy=False)


def poisson_cohort(
    seed: int, round_number: int, population: int, sampling_rate: float
) -> np.ndarray:
    """Draws a cohort in which every client takes part independently of the others.

    This is the sampling that amplification by subsampling assumes for DP-SGD and DP-FedAvg
    (Abadi et al. 2016, "Deep Learning with Differential Privacy", section 3.1; McMahan et al.
    2018, "Learning Differentially Private Recurrent Language Models", section 2). The function
    first draws the size from the binomial distribution and then a uniform set of that size. This is
    the same distribution, and the time grows only with the cohort.

    Args:
      seed: Seed of the run.
      round_number: The round.
      population: Number of clients.
      sampling_rate: The probability that a client takes part, above 0 and up to 1.

    Returns:
      int64[cohort], distinct client positions in ascending order. The cohort may be empty.

    Raises:
      UserError: If the rate is out of range.
    """
    if not (math.isfinite(sampling_rate) and 0 < sampling_rate <= 1):
        raise UserError(f"`sampling_rate`={sampling_rate}: must be above 0 and at most 1")
    rng = seeds.generator(seed, "poisson_cohort", round_number)
    return _sample(rng, population, int(rng.binomial(population, sampling_rate)))


def sampler(
    sampling: str, seed: int, population: int, clients_per_round: int
) -> Callable[[int], np.ndarray]:
    """Returns a function: round number -> cohort, int64[cohort].

    Args:
      sampling: "fixed", "poisson" or "cyclic".
      seed: Seed of the run.
      population: Number of clients.
      clients_per_round: Number of clients that take part. With "poisson" it is the mean.
    """

    def cohort(round_number: int) -> np.ndarray:
        if sampling == "poisson":
            rate = clients_per_round / population
            return poisson_cohort(seed, round_number, population, rate)
        draw = {"fixed": fixed_size_cohort, "cyclic": cyclic_cohort}[sampling]
        return draw(seed, round_number, population, clients_per_round)

    return cohort


def _check_cohort(clients_per_round: int, population: int) -> None:
    if clients_per_round < 1:
        raise UserError(f"`clients_per_round`={clients_per_round}: must be 1 or more")
    if clients_per_round > population:
        raise UserError(
            f"`clients_per_round`={clients_per_round}: there are only {population} clients"
        )


def _sample(rng: np.random.Generator, population: int, count: int) -> np.ndarray:
    drawn = rng.choice(population, count, replace=False, shuffle=False)
    return np.sort(drawn).astype(np.int64, copy=False)
