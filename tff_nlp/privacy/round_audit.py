"""Bounds on a run's noise and on the weight of its clients, from the releases of its rounds.

A mechanism that adds Gaussian noise to a sum of clipped updates promises two things: the noise is
as large as stated, and no client contributes more than the clipping norm. There is a bound for
each.

- `noise_bound`: The clients' updates are independent of the round's noise. So the squared length of
  a release is stochastically at least the squared length of the noise alone, which is the squared
  noise multiplier times a chi-squared number with d degrees of freedom. A shorter release shows
  that the noise is too small. Rounds can be summed, because the noise of a round is independent of
  everything before.
- `count_bound`: The sum of the canaries that take part for the first time has a uniformly random
  direction that is independent of the rest of the release. So its cosine with the rest has a known
  distribution (`audit_bounds.log_null_survival`; summed over rounds, N(0, 1/d) each). If a client
  were counted twice, the rest would contain a second copy of the sum.

Both bounds hold for all clients, models and samplings. The only approximation is that the sum of
cosines is Gaussian. An epsilon of one round from the cosines of canaries would add nothing. A
cosine is the weight of a canary over the length of the release, and both are bounded here.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import scipy.optimize
import scipy.stats

from tff_nlp.privacy.round_traces import Trace

# Above this many degrees of freedom, scipy's quantiles are wrong in the tails by up to a fifth of a
# standard deviation. The approximation of Wilson and Hilferty is then precise to some millionths.
_MANY = 1e6
# Probability with which the audit finds the faults of `finds_below` and `finds_above`.
POWER = 0.9


@dataclasses.dataclass(frozen=True)
class NoiseBound:
    """A bound on the noise, from the lengths of the releases.

    Attributes:
      at_most: Upper bound on the noise, as a fraction of the stated noise.
      where: Releases that give the bound: "all rounds", "round 3" or "tensor 2" (from 1).
      finds_below: With probability `POWER`, the audit of all rounds together finds noise below this
        fraction. None if it would not even find missing noise. It assumes that the length beyond
        the stated noise comes from clients' updates.
    """

    at_most: float
    where: str
    finds_below: float | None


@dataclasses.dataclass(frozen=True)
class CountBound:
    """A bound on the weight of a client, from canaries that take part for the first time.

    Attributes:
      at_least: Lower bound on the weight of a canary in the sum, in clipping norms.
      newcomers: Number of canaries that took part.
      finds_above: With probability `POWER`, the audit finds canaries with a larger weight than
        this. None if it would find no weight.
    """

    at_least: float
    newcomers: int
    finds_above: float | None


def noise_bound(
    traces: Sequence[Trace], sizes: Sequence[int], noise_multiplier: float, confidence: float
) -> NoiseBound:
    """Returns an upper bound on the noise.

    It tests all rounds together, each round, and each tensor. The tests share the error probability
    equally (Bonferroni).

    Args:
      traces: Traces of the rounds, at least one.
      sizes: Number of values in each tensor of an update.
      noise_multiplier: Stated noise multiplier: standard deviation of the noise on the sum of
        updates over the clipping norm. The noise must be independent between rounds.
      confidence: Probability, at least, with which the bound holds.

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
    """Returns a quantile of the chi-squared distribution, which is the squared length of noise.

    Args:
      probability: Probability of a smaller value, between 0 and 1.
      degrees: Degrees of freedom: number of values with variance 1.
    """
    if degrees <= _MANY:
        return float(scipy.stats.chi2.ppf(probability, degrees))
    part = 2 / (9 * degrees)
    normal = float(scipy.stats.norm.ppf(probability))
    return degrees * (1 - part + normal * math.sqrt(part)) ** 3


def _smallest_noise(total: float, degrees: float, alpha: float) -> float | None:
    """Returns the fraction of the stated noise below which the audit finds the fault, or None.

    Args:
      total: Squared length of the releases, in units of the stated noise. The length beyond the
        stated noise is assumed to come from clients.
      degrees: Number of released values.
      alpha: Probability with which the bound may fail.
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
    """Returns a lower bound on the weight of a canary, or None if no canary took part.

    Args:
      traces: Traces of the rounds.
      sizes: Number of values in each tensor of an update.
      confidence: Probability, at least, with which the bound holds.
    """
    came = [t for t in traces if t.newcomers > 0]
    if not came:
        return None
    dimension = float(sum(sizes))
    newcomers = np.array([t.newcomers for t in came])
    rest = np.array([sum(t.squares) for t in came])
    products = np.array([t.product for t in came])
    # Least squares: the mean of a product is (weight - 1) times the newcomers' squared length. Its
    # variance is this squared length times the squared length of the rest over the dimension.
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
    """Returns the largest weight of canaries that the audit may miss, or None."""
    needed = deviations + float(scipy.stats.norm.ppf(POWER))

    def excess(surplus: float) -> float:
        # A weight above 1 also makes the rest longer.
        lengths = rest + surplus**2 * newcomers
        return surplus * math.sqrt(dimension * float(np.sum(newcomers / lengths))) - needed

    most = 1e4
    if excess(most) <= 0:
        return None
    return 1 + float(scipy.optimize.brentq(excess, 0.0, most))
