"""What canaries tell about epsilon: an estimate, and lower bounds that hold with confidence.

A canary that was never sent is independent of all that is released, so the cosine between the two
is that of a fixed and a random direction, whatever the mechanism: nearly N(0, 1/dimension). How far
the cosines of the canaries that were sent differ from it is what a release says about one client
(Andrew et al. 2024, "One-shot Empirical Privacy Estimation for Federated Learning", sections 3 and
4). The statistics themselves come from `tff_nlp.privacy.canaries`, the bounds from
`tff_nlp.privacy.audit_bounds`.
"""

import dataclasses
import math

import numpy as np
import scipy.optimize
import scipy.special

from tff_nlp.privacy import audit_bounds


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What canaries tell about a run.

    Attributes:
      epsilon: The paper's estimate, right for Gaussian mechanisms in high dimension; no bound.
      lower: With this confidence, epsilon is not below.
      confidence: Of `lower`.
      delta: Of both.
      dimension: How many numbers an update has.
      canaries: How many were sent.
      mean: Of their cosines; of canaries that were not sent it would be 0.
      standard_deviation: Of their cosines; of canaries that were not sent, dimension^-1/2.
    """

    epsilon: float
    lower: float
    confidence: float
    delta: float
    dimension: int
    canaries: int
    mean: float
    standard_deviation: float

    def refutes(self, claimed: float) -> bool:
        """Returns whether a claimed epsilon, at the same delta, cannot be right."""
        return self.lower > claimed


def estimate(
    cosines: np.ndarray,
    dimension: int,
    delta: float,
    *,
    confidence: float = audit_bounds.CONFIDENCE,
    releases: int = 1,
    unobserved: np.ndarray | None = None,
) -> Estimate:
    """Returns what the cosines of the canaries that were sent tell.

    Args:
      cosines: float64[canaries], of each with what was released; with several releases, the
        largest of each.
      dimension: How many numbers an update has.
      delta: Between 0 and 1.
      confidence: Of the lower bound.
      releases: How many releases the cosines are the largest of.
      unobserved: float64[n], the same of canaries that were not sent: the estimate needs them with
        several releases, where no closed form is known. The bound does not use them.

    Raises:
      ValueError: If there are fewer than two canaries, or a number is out of range.
    """
    if len(cosines) < 2:
        raise ValueError(f"{len(cosines)} canaries: their spread takes two at least")
    if releases > 1 and unobserved is None:
        raise ValueError(f"{releases} releases: cosines of canaries that were not sent are needed")
    mean, deviation = float(np.mean(cosines)), float(np.std(cosines))
    mean_unsent, deviation_unsent = 0.0, dimension**-0.5
    if unobserved is not None:
        mean_unsent, deviation_unsent = float(np.mean(unobserved)), float(np.std(unobserved))
    return Estimate(
        epsilon=gaussian_epsilon(mean_unsent, deviation_unsent, mean, deviation, delta),
        lower=audit_bounds.lower_bound(
            cosines, dimension, delta, confidence=confidence, releases=releases
        ),
        confidence=confidence,
        delta=delta,
        dimension=dimension,
        canaries=len(cosines),
        mean=mean,
        standard_deviation=deviation,
    )


def gaussian_epsilon(
    mean_0: float, deviation_0: float, mean_1: float, deviation_1: float, delta: float
) -> float:
    """Returns the smallest epsilon for which two Gaussians are (epsilon, delta)-close, exactly.

    In both directions, as the paper has it; infinite if only one of them has a spread.

    Args:
      mean_0: Of the one.
      deviation_0: Its standard deviation.
      mean_1: Of the other.
      deviation_1: Its standard deviation.
      delta: Between 0 and 1.
    """
    if not 0 < delta < 1:
        raise ValueError(f"delta {delta}: must be between 0 and 1")
    if min(deviation_0, deviation_1) <= 0:
        return 0.0 if (mean_0, deviation_0) == (mean_1, deviation_1) else math.inf
    # The first of each pair in units of the second.
    pairs = (
        ((mean_1 - mean_0) / deviation_0, deviation_1 / deviation_0),
        ((mean_0 - mean_1) / deviation_1, deviation_0 / deviation_1),
    )

    def excess(epsilon: float) -> float:
        largest = max(_log_divergence(*pair, epsilon) for pair in pairs)
        # The search for the root takes no infinity.
        return max(largest, -1e6) - math.log(delta)

    if excess(0.0) <= 0:
        return 0.0
    high = 1.0
    while excess(high) > 0:
        high *= 2
    return float(scipy.optimize.brentq(excess, 0.0, high, xtol=1e-12, rtol=1e-12))


def _log_divergence(mean: float, deviation: float, epsilon: float) -> float:
    """Returns log(max(0, P(S) - e^epsilon Q(S))) for P = N(mean, deviation^2) and Q = N(0, 1).

    S, where P's density is more than e^epsilon times Q's, is where a y^2 + b y + c > 0: outside of
    the roots if a is positive, between them if it is negative, a half-line if it is 0.
    """
    precision = deviation**-2
    a = 0.5 * (1 - precision)
    b = mean * precision
    c = -math.log(deviation) - 0.5 * mean**2 * precision - epsilon
    discriminant = b * b - 4 * a * c
    if discriminant <= 0:
        return -math.inf  # Nowhere; or everywhere, where 1 - e^epsilon is not positive.
    # In this form no root is the difference of two nearly equal numbers.
    half = -0.5 * (b + math.copysign(math.sqrt(discriminant), b))
    far = half / a if a else -math.copysign(math.inf, b)
    low, high = sorted((far, c / half))
    inside = a < 0
    log_p = _log_mass((low - mean) / deviation, (high - mean) / deviation, inside)
    log_q = _log_mass(low, high, inside)
    gap = epsilon + log_q - log_p
    return log_p + math.log1p(-math.exp(gap)) if gap < 0 else -math.inf


def _log_mass(low: float, high: float, inside: bool) -> float:
    """Returns log P(low < Z < high), or of the opposite, of a standard normal Z."""
    if not inside:
        tails = np.logaddexp(scipy.special.log_ndtr(low), scipy.special.log_ndtr(-high))
        return float(tails)
    if low > 0:  # Tails are exact on the left.
        low, high = -high, -low
    upper, lower = (float(scipy.special.log_ndtr(end)) for end in (high, low))
    return upper + math.log1p(-math.exp(lower - upper)) if lower < upper else -math.inf
