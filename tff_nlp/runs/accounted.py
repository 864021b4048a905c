"""Epsilons of mechanisms that are given by their numbers, for published tables."""

from collections.abc import Sequence

import dp_accounting as dpa

from tff_nlp.privacy import accounting, calibration, dp_ftrl, events


def classic_epsilon_of_poisson_rounds(
    clients: int, clients_per_round: int, noise_multiplier: float, rounds: int, *, delta: float
) -> float:
    """Returns the epsilon of rounds with Poisson samples of clients, as McMahan et al. 2018 do.

    It is Renyi DP at integer orders with the classic conversion.

    Args:
      clients: Number of clients.
      clients_per_round: Expected size of a cohort.
      noise_multiplier: Noise on the sum over the clipping norm.
      rounds: Number of rounds.
      delta: Probability with which epsilon may fail.
    """
    event = _poisson_rounds(clients_per_round / clients, noise_multiplier, rounds)
    return _classic(event, delta, accounting.INTEGER_ORDERS, accounting.ADD_OR_REMOVE)


def classic_epsilon_of_tree(noise_multiplier: float, rounds: int, *, delta: float) -> float:
    """Returns the epsilon of DP-FTRL with one tree, if each client takes part once.

    It is Renyi DP at fine orders with the classic conversion.
    """
    squared = dp_ftrl.squared_sensitivity(dp_ftrl.Participation(1, 0), rounds)
    event = dp_ftrl.event_of(noise_multiplier, squared)
    return _classic(event, delta, accounting.FINE_ORDERS, accounting.ZERO_OUT)


def epsilon_without_sampling(
    target_epsilon: float,
    *,
    sampling_probability: float,
    planned_steps: int,
    steps: int,
    delta: float,
) -> float:
    """Returns the epsilon of steps on all examples, with the noise for fewer or sampled ones.

    Args:
      target_epsilon: Epsilon of the plan, which gives the noise.
      sampling_probability: Share of the examples in a step of the plan.
      planned_steps: Number of steps of the plan.
      steps: Number of steps that were taken, each on all examples.
      delta: Probability with which epsilon may fail.
    """
    epsilon_of = calibration.epsilon_by("rdp", delta)

    noise = calibration.smallest_noise(
        lambda z: _poisson_rounds(sampling_probability, z, planned_steps),
        target_epsilon,
        epsilon_of,
    )
    return float(epsilon_of(dpa.SelfComposedDpEvent(events.everybody_round(noise), steps)))


def squared_sensitivity(max_participations: int, min_separation: int, rounds: int) -> float:
    """Returns the squared sensitivity of one tree, see `dp_ftrl.Participation`."""
    participation = dp_ftrl.Participation(max_participations, min_separation)
    return float(dp_ftrl.squared_sensitivity(participation, rounds))


def smallest_cohort(
    clients: int, noise_ratio: float, rounds: int, *, delta: float, target_epsilon: float
) -> float:
    """Returns the smallest cohort within an epsilon, if the noise grows with the cohort.

    Args:
      clients: Number of clients.
      noise_ratio: Noise multiplier over the size of the cohort.
      rounds: Number of rounds.
      delta: Probability with which epsilon may fail.
      target_epsilon: The largest epsilon.
    """
    return float(
        calibration.smallest_cohort(
            lambda cohort: _poisson_rounds(cohort / clients, noise_ratio * cohort, rounds),
            clients,
            target_epsilon,
            calibration.epsilon_by("rdp", delta),
        )
    )


def _poisson_rounds(probability: float, noise_multiplier: float, rounds: int) -> dpa.DpEvent:
    return dpa.SelfComposedDpEvent(events.poisson_round(probability, noise_multiplier), rounds)


def _classic(
    event: dpa.DpEvent,
    delta: float,
    orders: Sequence[float],
    adjacency: dpa.NeighboringRelation,
) -> float:
    divergences = accounting.rdp_of(event, orders, adjacency)
    return accounting.classic_epsilon(orders, divergences, delta)[0]
