"""Questions about a privacy budget: from two of three quantities, find the third.

The quantities are epsilon, the noise multiplier and the cohort (or the number of rounds). The
missing quantity is chosen so that the target holds. The answer states the privacy of the whole run.
"""

import dataclasses

import dp_accounting as dpa

from tff_nlp.privacy import (
    accounting,
    adaptive_clipping,
    calibration,
    dp_ftrl,
    events,
    names,
    statement,
)


@dataclasses.dataclass(frozen=True)
class Question:
    """What is known about a run. Unknown quantities are None.

    Exactly one of noise (multiplier or ratio), cohort, rounds and target epsilon is None. The
    epsilon of tree aggregation does not depend on the cohort, so there the cohort must be known.

    Attributes:
      dp: Mechanism, one of `names.CENTRAL`.
      unit: The protected unit.
      sampling: "poisson" or "fixed_size".
      population: Number of units.
      delta: Probability with which epsilon may fail, above 0 and at most 1/population.
      clients_per_round: Expected cohort size.
      noise_multiplier: Standard deviation of the noise on the sum over the clipping norm.
      noise_ratio: Noise multiplier over the cohort size. It replaces `noise_multiplier`.
      rounds: Number of rounds.
      target_epsilon: Largest allowed epsilon.
      accountant: Accountant that is compared with the target.
      orders: Order grid of both conversions. None for the default grids.
      participation: Bound on the participation; for tree aggregation only.
      restart_every: Number of rounds after which a new tree begins. None for a single tree.
    """

    dp: str
    unit: str
    sampling: str
    population: int
    delta: float
    clients_per_round: int | None
    noise_multiplier: float | None
    noise_ratio: float | None
    rounds: int | None
    target_epsilon: float | None
    accountant: str
    orders: tuple[float, ...] | None
    participation: dp_ftrl.Participation | None
    restart_every: int | None

    @property
    def fine_orders(self) -> tuple[float, ...]:
        """The order grid of the improved conversion."""
        return self.orders or accounting.FINE_ORDERS

    @property
    def classic_orders(self) -> tuple[float, ...]:
        """The order grid of the classic conversion. For trees it is the fine grid, as in papers."""
        if self.participation is not None:
            return self.fine_orders
        return self.orders or accounting.INTEGER_ORDERS


@dataclasses.dataclass(frozen=True)
class Answer:
    """The answer to a question.

    Attributes:
      asked: The question.
      found: Name of the quantity that was missing.
      stated: The privacy statement of the run.
      split: The two parts of the noise, for adaptive clipping; otherwise None.
      squared_sensitivity: Squared sensitivity in squared clipping norms, for tree aggregation;
        otherwise None.
    """

    asked: Question
    found: str
    stated: statement.PrivacyStatement
    split: adaptive_clipping.NoiseSplit | None = None
    squared_sensitivity: int | None = None


def _sampled(asked: Question, cohort: int, noise: float, rounds: int) -> dpa.DpEvent:
    fixed_size = asked.sampling == "fixed_size"
    one = events.sampled_round(asked.population, cohort, noise, fixed_size=fixed_size)
    return events.compose([dpa.SelfComposedDpEvent(one, rounds)])


def answer(asked: Question) -> Answer:
    """Finds the missing quantity and states the privacy of the run.

    Raises:
      UserError: If no value keeps the target, or the noise cannot be split for adaptive clipping.
    """
    if asked.participation is not None:
        return _answer_tree(asked, asked.participation)
    epsilon_of = calibration.epsilon_by(
        asked.accountant, asked.delta, asked.fine_orders, asked.classic_orders
    )
    cohort, noise, rounds = asked.clients_per_round, asked.noise_multiplier, asked.rounds
    ratio, target = asked.noise_ratio, asked.target_epsilon
    if ratio is not None and cohort is not None:
        noise = ratio * cohort
    found = "epsilon"
    if rounds is None and cohort is not None and noise is not None and target is not None:
        found, known = "rounds", (cohort, noise)
        rounds = calibration.most_rounds(lambda n: _sampled(asked, *known, n), target, epsilon_of)
    elif noise is None and cohort is not None and rounds is not None and target is not None:
        found, parts = "noise_multiplier", (cohort, rounds)
        noise = calibration.smallest_noise(
            lambda z: _sampled(asked, parts[0], z, parts[1]), target, epsilon_of
        )
    elif cohort is None and rounds is not None and target is not None:
        found = "clients_per_round"
        cohort = _find_cohort(asked, rounds, target, epsilon_of)
        noise = ratio * cohort if ratio is not None else noise
    if cohort is None or noise is None or rounds is None:
        raise RuntimeError("the question was not validated")
    split = (
        adaptive_clipping.split_noise(noise, cohort)
        if asked.dp == names.ADAPTIVE_CLIPPING
        else None
    )
    stated = statement.state(
        _sampled(asked, cohort, noise, rounds),
        mechanism=asked.dp,
        population=asked.population,
        clients_per_round=cohort,
        delta=asked.delta,
        unit=asked.unit,
        accountant=asked.accountant,
        orders=asked.fine_orders,
        classic_orders=asked.classic_orders,
    )
    return Answer(asked, found, stated, split)


def _find_cohort(
    asked: Question, rounds: int, target: float, epsilon_of: calibration.EpsilonOf
) -> int:
    ratio, noise = asked.noise_ratio, asked.noise_multiplier
    if ratio is not None:
        return calibration.smallest_cohort(
            lambda n: _sampled(asked, n, ratio * n, rounds), asked.population, target, epsilon_of
        )
    if noise is None:
        raise RuntimeError("the question was not validated")
    return calibration.largest_cohort(
        lambda n: _sampled(asked, n, noise, rounds), asked.population, target, epsilon_of
    )


def _answer_tree(asked: Question, participation: dp_ftrl.Participation) -> Answer:
    epsilon_of = calibration.epsilon_by(
        asked.accountant,
        asked.delta,
        asked.fine_orders,
        asked.classic_orders,
        accounting.ZERO_OUT,
    )
    noise, rounds, target = asked.noise_multiplier, asked.rounds, asked.target_epsilon

    def squared(count: int) -> int:
        return dp_ftrl.squared_sensitivity(participation, count, asked.restart_every)

    found = "epsilon"
    if rounds is None and noise is not None and target is not None:
        found, sigma = "rounds", noise
        rounds = calibration.most_rounds(
            lambda n: dp_ftrl.event_of(sigma, squared(n)), target, epsilon_of
        )
    elif noise is None and rounds is not None and target is not None:
        found, change = "noise_multiplier", squared(rounds)
        noise = calibration.smallest_noise(
            lambda z: dp_ftrl.event_of(z, change), target, epsilon_of
        )
    if rounds is None or noise is None or asked.clients_per_round is None:
        raise RuntimeError("the question was not validated")
    stated = statement.state_bounded(
        dp_ftrl.event_of(noise, squared(rounds)),
        mechanism=asked.dp,
        population=asked.population,
        clients_per_round=asked.clients_per_round,
        noise_multiplier=noise,
        rounds=rounds,
        delta=asked.delta,
        accountant=asked.accountant,
        orders=asked.fine_orders,
    )
    return Answer(asked, found, stated, squared_sensitivity=squared(rounds))
