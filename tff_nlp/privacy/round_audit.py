"""Bounds on a run's noise and on what its clients count, from the releases of its rounds.

A mechanism that adds Gaussian noise to a sum of clipped updates promises two things: that the noise
is as large as stated, and that no client counts more than its clipping norm. Each has a bound here.

- `noise_at_most`. Whatever the clients sent, it is independent of the round's noise, so that the
  squared length of a release is stochastically at least that of the noise alone: noise multiplier
  squared times a chi-squared number of d degrees of freedom. A shorter release refutes the noise.
  Rounds add up, since each round's noise is independent of all that came before.
- `counts_at_least`. The sum of canaries that take part for the first time has a direction that is
  uniformly random and independent of the rest of the release, so that its cosine with the rest has
  a known law (`audit_bounds.log_null_survival`; summed over rounds, N(0, 1/d) each). Were a client
  counted twice, a second copy of the sum would be in the rest.

Both hold exactly for any clients, any model and any sampling; only the sum of cosines is taken as
Gaussian. An epsilon of one round from the canaries' cosines would add nothing: a cosine is what a
canary counts over the length of the release, and each of the two is bounded here by itself.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import scipy.optimize
import scipy.stats

from tff_nlp.privacy.round_traces import Trace

# Beyond so many degrees of freedom scipy's quantiles are off in the tails, by up to a fifth of a
# standard deviation, and Wilson and Hilferty's are right to some millionths.
_MANY = 1e6
# How likely `finds_*` are to be found.
POWER = 0.9


@dataclasses.dataclass(frozen=True)
class NoiseBound:
    """What the lengths of the releases show.

    Attributes:
      at_most: With confidence, the noise is at most this share of what is stated.
      where: Which releases show it: "all rounds", "round 3" or "tensor 2" (from 1).
      finds_below: Noise below this share would have been found in all rounds together, with
        probability `POWER`; None if not even noise left out would have been. What exceeds the
        noise as stated is taken for clients' updates, which are longer if there is less noise.
    """

    at_most: float
    where: str
    finds_below: float | None


@dataclasses.dataclass(frozen=True)
class CountBound:
    """What canaries that take part for the first time show.

    Attributes:
      at_least: With confidence, a canary counts at least this many clipping norms.
      newcomers: How many there were.
      finds_above: Canaries that count more would have been found, with probability `POWER`; None if
        nothing would have been.
    """

    at_least: float
    newcomers: int
    finds_above: float | None


def noise_bound(
    traces: Sequence[Trace], sizes: Sequence[int], noise_multiplier: float, confidence: float
) -> NoiseBound:
    """Returns what the noise is not above.

    All rounds together, each round and each tensor are looked at; they share the allowance for
    errors (Bonferroni).

    Args:
      traces: The rounds, one at least.
      sizes: How many numbers each tensor has.
      noise_multiplier: What is stated: standard deviation of each number's noise on the sum of
        updates over the clipping norm; independent between rounds.
      confidence: How often, at least, the bound is right.

    Raises:
      ValueError: If there is no round or no noise.
    """
    if not traces or not noise_multiplier > 0:
        raise ValueError(f"{len(traces)} rounds, noise multiplier {noise_multiplier}")
    squares = np.array([t.squares for t in traces]) / noise_multiplier**2
    numbers = np.array(sizes, np.float64)
    rounds, tensors = squares.shape
    looks = [("all rounds", float(squares.sum()), rounds * float(numbers.sum()))]
    if rounds > 1:
        by_round = squares.sum(axis=1)
        looks += [
            (f"round {t.round}", float(s), float(numbers.sum()))
            for t, s in zip(traces, by_round, strict=True)
        ]
    if tensors > 1:
        by_tensor = zip(squares.sum(axis=0), numbers, strict=True)
        looks += [
            (f"tensor {n}", float(s), rounds * float(d)) for n, (s, d) in enumerate(by_tensor, 1)
        ]
    alpha = (1 - confidence) / len(looks)
    bounds = [(math.sqrt(s / shortest(alpha, d)), where) for where, s, d in looks]
    at_most, where = min(bounds)
    _, total, degrees = looks[0]
    return NoiseBound(at_most, where, _smallest_noise(total, degrees, alpha))


def shortest(probability: float, degrees: float) -> float:
    """Returns the quantile of the chi-squared law: noise alone is shorter with this probability.

    Args:
      probability: Between 0 and 1.
      degrees: How many numbers of variance 1 there are.
    """
    if degrees <= _MANY:
        return float(scipy.stats.chi2.ppf(probability, degrees))
    part = 2 / (9 * degrees)
    normal = float(scipy.stats.norm.ppf(probability))
    return degrees * (1 - part + normal * math.sqrt(part)) ** 3


def _smallest_noise(total: float, degrees: float, alpha: float) -> float | None:
    """Returns the share of the noise from which on a release was too short to be taken for whole.

    Args:
      total: Squared length of the releases in units of the noise, which is taken to be as stated:
        what exceeds it came from clients.
      degrees: How many numbers were released.
      alpha: How often the bound may be wrong.
    """
    clients = max(0.0, total - degrees)
    limit = shortest(alpha, degrees)
    deviations = float(scipy.stats.norm.ppf(POWER))

    def excess(variance: float) -> float:
        spread = math.sqrt(2 * degrees * variance**2 + 4 * clients * variance)
        return variance * degrees + clients + deviations * spread - limit

    if excess(0.0) >= 0:
        return None
    return math.sqrt(float(scipy.optimize.brentq(excess, 0.0, 1.0)))


def count_bound(
    traces: Sequence[Trace], sizes: Sequence[int], confidence: float
) -> CountBound | None:
    """Returns what a canary does not count below; None if none took part.

    Args:
      traces: The rounds.
      sizes: How many numbers each tensor has.
      confidence: How often, at least, the bound is right.
    """
    came = [t for t in traces if t.newcomers > 0]
    if not came:
        return None
    dimension = float(sum(sizes))
    newcomers = np.array([t.newcomers for t in came])
    rest = np.array([sum(t.squares) for t in came])
    products = np.array([t.product for t in came])
    # Least squares: a product is (count - 1) times the newcomers' squared length, with a variance
    # of that times the squared length of the rest over the dimension.
    information = dimension * float(np.sum(newcomers / rest))
    estimate = 1 + dimension * float(np.sum(products / rest)) / information
    deviations = float(scipy.stats.norm.isf(1 - confidence))
    seen = {index for t in came for index in t.canaries}
    return CountBound(
        at_least=estimate - deviations / math.sqrt(information),
        newcomers=len(seen),
        finds_above=_largest_count(newcomers, rest, dimension, deviations),
    )


def _largest_count(
    newcomers: np.ndarray, rest: np.ndarray, dimension: float, deviations: float
) -> float | None:
    """Returns what canaries may count at most without being found."""
    needed = deviations + float(scipy.stats.norm.ppf(POWER))

    def excess(surplus: float) -> float:
        # What canaries count beyond 1 makes the rest longer, too.
        lengths = rest + surplus**2 * newcomers
        return surplus * math.sqrt(dimension * float(np.sum(newcomers / lengths))) - needed

    most = 1e4
    if excess(most) <= 0:
        return None
    return 1 + float(scipy.optimize.brentq(excess, 0.0, most))
