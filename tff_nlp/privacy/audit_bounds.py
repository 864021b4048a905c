"""Lower bounds on epsilon from attacks, each with its confidence.

- `lower_bound` needs one run and the cosines of the canaries that were sent. An exact binomial
  interval bounds the rate of false negatives, and a closed form gives the rate of false positives.
  It treats canaries as independent trials. They are nearly independent: they share only the length
  of the release, and 1/dimension of each other.
- `threshold_bound` needs a fixed attack on many independent runs.

There are no upper bounds: an audit can show that a claim is wrong, but not that it is right.
"""

import math

import numpy as np
import scipy.special
import scipy.stats

CONFIDENCE = 0.999
CLOPPER_PEARSON, JEFFREYS = "clopper_pearson", "jeffreys"

# From this dimension on, the exact distribution of a cosine equals a Gaussian for all practical
# purposes (section 4 of the paper).
_LARGE_DIMENSION = 1000


def lower_bound(
    cosines: np.ndarray,
    dimension: int,
    delta: float,
    *,
    confidence: float = CONFIDENCE,
    releases: int = 1,
) -> float:
    """Returns a lower bound on epsilon, from canaries that were sent.

    The attack guesses "sent" if the cosine reaches a threshold. It uses several thresholds: the
    largest cosine, the 2nd, 4th, 8th largest, ..., and the smallest. They share the error
    probability equally (Bonferroni), so the best threshold keeps the confidence.

    Args:
      cosines: Cosine of each canary with the release, float64[canaries]. With several releases,
        the largest cosine of each canary.
      dimension: Number of values in an update.
      delta: Probability with which epsilon may fail, between 0 and 1.
      confidence: Probability, at least, with which the bound holds.
      releases: Number of releases over which the largest cosine was taken. A canary that was not
        sent has this many chances to reach the threshold.
    """
    count = len(cosines)
    # The numbers of canaries that reach each threshold.
    hits = np.unique(np.append(2 ** np.arange(int(math.log2(count)) + 1), count))
    bounds = closed_form_bounds(
        cosines, dimension, delta, alpha=(1 - confidence) / len(hits), releases=releases
    )
    return float(bounds[hits - 1].max())


def closed_form_bounds(
    cosines: np.ndarray,
    dimension: int,
    delta: float,
    *,
    alpha: float,
    releases: int = 1,
    interval: str = CLOPPER_PEARSON,
) -> np.ndarray:
    """Returns a lower bound on epsilon for each cosine as threshold, float64[canaries].

    The thresholds descend. Each single bound fails with probability at most alpha. Andrew et al.
    report the largest of all bounds with Jeffreys' interval; its error probability is not known.

    Args:
      cosines: Cosines of the canaries, float64[canaries], as for `lower_bound`.
      dimension: Number of values in an update.
      delta: Probability with which epsilon may fail, at least 0 and below 1.
      alpha: Probability with which a bound may fail.
      releases: Number of releases, as for `lower_bound`.
      interval: Kind of the interval for the rate of true positives, as for `success_rate`.

    Raises:
      ValueError: If there is no cosine or a number is out of range.
    """
    _check(len(cosines) > 0, "no cosines")
    _check(0 <= delta < 1, f"delta {delta}: must be at least 0 and below 1")
    _check(0 < alpha < 1, f"alpha {alpha}: must be between 0 and 1")
    _check(releases >= 1, f"{releases} releases: must be 1 or more")
    thresholds = np.sort(np.asarray(cosines, dtype=np.float64))[::-1]
    hits = np.arange(1, len(thresholds) + 1)
    found = success_rate(hits, len(thresholds), alpha, interval)
    false_alarms = np.minimum(log_null_survival(thresholds, dimension) + math.log(releases), 0.0)
    return _epsilon(found, false_alarms, delta)


def threshold_bound(
    hits: int,
    members: int,
    false_alarms: int,
    others: int,
    *,
    delta: float = 0.0,
    confidence: float = CONFIDENCE,
    copies: int = 1,
) -> float:
    """Returns a lower bound on epsilon, from an attack with a fixed threshold.

    Jagielski, Ullman and Oprea 2020, "Auditing Differentially Private Machine Learning", section
    4.3. The bounds of the two rates share the error probability equally.

    Args:
      hits: Number of members that the attack called members.
      members: Number of independent trials with members.
      false_alarms: Number of non-members that the attack called members.
      others: Number of independent trials with non-members.
      delta: Probability with which epsilon may fail, at least 0.
      confidence: Probability, at least, with which the bound holds.
      copies: Number of inserted copies of the member. With more than one copy, delta must be 0.

    Raises:
      ValueError: If there are several copies and delta is not 0.
    """
    _check(copies == 1 or delta == 0, f"{copies} copies: delta must be 0, not {delta}")
    alpha = (1 - confidence) / 2
    found = success_rate(hits, members, alpha, CLOPPER_PEARSON)
    refused = success_rate(others - false_alarms, others, alpha, CLOPPER_PEARSON)
    with np.errstate(divide="ignore"):
        return float(_epsilon(found, np.log1p(-refused), delta)) / copies


def success_rate(
    successes: np.ndarray | int, trials: int, alpha: float, interval: str
) -> np.ndarray:
    """Returns a lower bound on a probability of success, float64[n].

    Args:
      successes: Number of successes, int64[n] or a single number.
      trials: Number of independent trials.
      alpha: Probability with which the bound may fail.
      interval: "clopper_pearson", which always keeps alpha, or "jeffreys", which keeps it on
        average.
    """
    shift = {CLOPPER_PEARSON: 0.0, JEFFREYS: 0.5}[interval]
    succeeded = np.asarray(successes, dtype=np.float64)
    first, second = succeeded + shift, trials - succeeded + 1 - shift
    bound = scipy.stats.beta.ppf(alpha, np.maximum(first, shift or 1.0), second)
    return np.where(first > 0, bound, 0.0)


def log_null_survival(cosines: np.ndarray, dimension: int) -> np.ndarray:
    """Returns log P(cosine of a canary that was not sent >= c) for each c, float64[n].

    Below 1000 dimensions it is exact: the distribution of one coordinate of a random unit vector.
    From 1000 on it is a Gaussian. Its tail is heavier, so the error is on the safe side.

    Args:
      cosines: Cosines c, float64[n].
      dimension: Number of values in an update, at least 2.
    """
    t = np.asarray(cosines, dtype=np.float64)
    gaussian = scipy.special.log_ndtr(-t * math.sqrt(dimension))
    if dimension >= _LARGE_DIMENSION:
        return gaussian
    tail = 0.5 * scipy.stats.beta.sf(t**2, 0.5, (dimension - 1) / 2)
    with np.errstate(divide="ignore"):
        exact = np.where(t >= 0, np.log(tail), np.log1p(-tail))
    # The Gaussian's tail is still finite if the exact one underflows.
    return np.where(np.isfinite(exact), exact, gaussian)


def _epsilon(found: np.ndarray, log_false_alarms: np.ndarray, delta: float) -> np.ndarray:
    """Returns the largest epsilon that the rates of an attack exclude (Kairouz et al. 2015).

    Args:
      found: Lower bounds on the rate of true positives, float64[n].
      log_false_alarms: Log of upper bounds on the rate of false positives, float64[n].
      delta: Probability with which epsilon may fail, at least 0.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        positive = np.log(found - delta) - log_false_alarms
        negative = np.log(1 - delta - np.exp(log_false_alarms)) - np.log1p(-found)
    return np.nanmax([positive, negative, np.zeros_like(positive)], axis=0)


def _check(good: bool, message: str) -> None:
    if not good:
        raise ValueError(message)
