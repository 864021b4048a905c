"""Lower bounds on epsilon from attacks that were tried, each with its confidence.

- `lower_bound`: of one run, from the cosines of the canaries that were sent. False negatives are
  counted and bounded by an exact binomial interval, false positives follow from a closed form. It
  takes canaries as independent trials, which they nearly are: what they share is the length of the
  release, and 1/dimension of each other.
- `guess_bound`: of one run, in which a coin sent each canary and the auditor guessed which. It
  needs no independence, and is the weakest.
- `threshold_bound`: of a fixed attack tried on many independent runs.

There are no upper bounds: an audit can show that a promise is broken, not that it is kept.
"""

import math

import numpy as np
import scipy.optimize
import scipy.special
import scipy.stats

CONFIDENCE = 0.999
CLOPPER_PEARSON, JEFFREYS = "clopper_pearson", "jeffreys"

# From here on the exact law of a cosine and the Gaussian are equal for all purposes (section 4 of
# the paper).
_LARGE_DIMENSION = 1000


def lower_bound(
    cosines: np.ndarray,
    dimension: int,
    delta: float,
    *,
    confidence: float = CONFIDENCE,
    releases: int = 1,
) -> float:
    """Returns what epsilon is not below, from canaries that were sent.

    The attack says "sent" from a threshold on. Thresholds are the largest cosine, the 2nd, the 4th,
    the 8th largest, ... and the smallest, and share the allowance for errors equally (Bonferroni),
    so that the best of them keeps the confidence.

    Args:
      cosines: float64[canaries], of each with what was released; with several releases, the
        largest of each.
      dimension: How many numbers an update has.
      delta: Between 0 and 1.
      confidence: How often, at least, the bound is right.
      releases: How many releases the cosines are the largest of: a canary that was not sent has
        as many chances to look sent.
    """
    count = len(cosines)
    # The numbers of canaries beyond the threshold.
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
    """Returns float64[canaries]: what epsilon is not below, with each canary's cosine as threshold.

    From the largest cosine to the smallest. Each bound by itself is wrong with probability alpha at
    most. Andrew et al. report the largest of all, with Jeffreys' interval, whose probability to be
    wrong is not known.

    Args:
      cosines: float64[canaries], as for `lower_bound`.
      dimension: How many numbers an update has.
      delta: Between 0 and 1.
      alpha: How often a bound may be wrong.
      releases: As for `lower_bound`.
      interval: Of the rate of true positives, as for `success_rate`.

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
    """Returns what epsilon is not below, from an attack with a threshold fixed in advance.

    Jagielski, Ullman and Oprea 2020, "Auditing Differentially Private Machine Learning", section
    4.3: the interval's two ends share the allowance for errors.

    Args:
      hits: How often the attack said "member" of a member.
      members: How many members were tried, independently.
      false_alarms: How often it said so of others.
      others: How many others were tried, independently.
      delta: At least 0.
      confidence: How often, at least, the bound is right.
      copies: How many copies of the member were planted; with more than one, delta must be 0.

    Raises:
      ValueError: If there are copies and a delta.
    """
    _check(copies == 1 or delta == 0, f"{copies} copies: delta must be 0, not {delta}")
    alpha = (1 - confidence) / 2
    found = success_rate(hits, members, alpha, CLOPPER_PEARSON)
    refused = success_rate(others - false_alarms, others, alpha, CLOPPER_PEARSON)
    with np.errstate(divide="ignore"):
        return float(_epsilon(found, np.log1p(-refused), delta)) / copies


def guess_bound(
    correct: int, guesses: int, canaries: int, delta: float, *, confidence: float = CONFIDENCE
) -> float:
    """Returns what epsilon is not below, from guesses which canaries a coin sent.

    Steinke, Nasr and Jagielski 2023, "Privacy Auditing with One (1) Training Run", corollary 5.4:
    under (epsilon, delta)-DP the number of correct guesses is at most that of a coin that falls
    right with probability e^epsilon / (1 + e^epsilon), but for delta. Holds for any mechanism and
    any dependence between canaries.

    Args:
      correct: How many guesses were right.
      guesses: How many were made; for the others the auditor abstained.
      canaries: How many there were, each sent with probability one half (`canaries.coins`).
      delta: At least 0.
      confidence: How often, at least, the bound is right.
    """
    _check(0 <= correct <= guesses <= canaries, f"{correct} of {guesses} of {canaries} guesses")
    allowed = 1 - confidence

    def excess(epsilon: float) -> float:
        return _guess_p_value(correct, guesses, canaries, epsilon, delta) - allowed

    if excess(0.0) >= 0:
        return 0.0
    high = 1.0
    while excess(high) < 0:
        high *= 2
    return float(scipy.optimize.brentq(excess, 0.0, high, xtol=1e-9))


def correct_guesses(scores: np.ndarray, sent: np.ndarray, guesses: int) -> int:
    """Returns how many guesses are right if the highest scores are said to be sent, the lowest not.

    Half of the guesses are made at each end. Fix their number before looking at the scores.

    Args:
      scores: float64[canaries], such as their cosines.
      sent: bool[canaries], what the coins said.
      guesses: How many to make, an even number.
    """
    order = np.argsort(scores, kind="stable")
    half = guesses // 2
    return int(np.sum(~sent[order[:half]]) + np.sum(sent[order[len(order) - half :]]))


def success_rate(
    successes: np.ndarray | int, trials: int, alpha: float, interval: str
) -> np.ndarray:
    """Returns what the probability of success is not below.

    Args:
      successes: int64[n] or one number, of how many trials succeeded.
      trials: How many independent ones there were.
      alpha: How often the bound may be wrong.
      interval: "clopper_pearson", which keeps to it always, or "jeffreys", which does on average.
    """
    shift = {CLOPPER_PEARSON: 0.0, JEFFREYS: 0.5}[interval]
    succeeded = np.asarray(successes, dtype=np.float64)
    first, second = succeeded + shift, trials - succeeded + 1 - shift
    bound = scipy.stats.beta.ppf(alpha, np.maximum(first, shift or 1.0), second)
    return np.where(first > 0, bound, 0.0)


def log_null_survival(cosines: np.ndarray, dimension: int) -> np.ndarray:
    """Returns float64[n]: log of the probability that a canary not sent has such a cosine, or more.

    Exact below 1000 dimensions: the law of one coordinate of a random unit vector. The Gaussian
    from there on, whose tail is the heavier one, so that it errs on the safe side.

    Args:
      cosines: float64[n].
      dimension: How many numbers an update has, 2 at least.
    """
    t = np.asarray(cosines, dtype=np.float64)
    gaussian = scipy.special.log_ndtr(-t * math.sqrt(dimension))
    if dimension >= _LARGE_DIMENSION:
        return gaussian
    tail = 0.5 * scipy.stats.beta.sf(t**2, 0.5, (dimension - 1) / 2)
    with np.errstate(divide="ignore"):
        exact = np.where(t >= 0, np.log(tail), np.log1p(-tail))
    # The Gaussian's tail is still a number where the exact one is too small for one.
    return np.where(np.isfinite(exact), exact, gaussian)


def _epsilon(found: np.ndarray, log_false_alarms: np.ndarray, delta: float) -> np.ndarray:
    """Returns the largest epsilon that the rates of an attack exclude (Kairouz et al. 2015).

    Args:
      found: float64[n], the rate of true positives is not below.
      log_false_alarms: float64[n], the log of the rate of false positives is not above.
      delta: At least 0.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        positive = np.log(found - delta) - log_false_alarms
        negative = np.log(1 - delta - np.exp(log_false_alarms)) - np.log1p(-found)
    return np.nanmax([positive, negative, np.zeros_like(positive)], axis=0)


def _guess_p_value(
    correct: int, guesses: int, canaries: int, epsilon: float, delta: float
) -> float:
    """Returns the probability of so many correct guesses, at most, under (epsilon, delta)-DP."""
    law = scipy.stats.binom(guesses, scipy.special.expit(epsilon))
    enough = float(law.sf(correct - 1))
    short = np.arange(1, correct + 1)
    # P(correct - i <= guesses that are right < correct) / i
    shares = (law.sf(correct - short - 1) - enough) / short
    return enough + 2 * canaries * delta * float(shares.max(initial=0.0))


def _check(good: bool, message: str) -> None:
    if not good:
        raise ValueError(message)
