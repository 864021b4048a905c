"""An estimate of epsilon and a lower bound on it, from the cosines of canaries.

A canary that was never sent is independent of all releases. So its cosine with a release is the
cosine of a random direction with a fixed one, for every mechanism: nearly N(0, 1/dimension). The
difference between this distribution and the cosines of canaries that were sent shows how much a
release reveals about one client (Andrew et al. 2024, "One-shot Empirical Privacy Estimation for
Federated Learning", sections 3 and 4). `tff_nlp.privacy.canaries` computes the cosines and
`tff_nlp.privacy.audit_bounds` the bounds.
"""

import dataclasses
import math

import numpy as np
import scipy.optimize
import scipy.special

from tff_nlp.privacy import audit_bounds


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The result of a canary audit.

    Attributes:
      epsilon: The paper's estimate of epsilon. It is correct for Gaussian mechanisms in high
        dimension, and it is not a bound.
      lower: Lower bound on epsilon.
      confidence: Probability, at least, with which `lower` holds.
      delta: Delta of `epsilon` and `lower`.
      dimension: Number of values in an update.
      canaries: Number of canaries that were sent.
      mean: Mean of their cosines. For canaries that were not sent it would be 0.
      standard_deviation: Standard deviation of their cosines. For canaries that were not sent it
        would be dimension^-1/2.
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
        """Whether the bound contradicts a claimed epsilon at the same delta."""
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
    """Estimates epsilon from the cosines of the canaries that were sent.

    Args:
      cosines: Cosine of each canary with the release, float64[canaries]. With several releases,
        the largest cosine of each canary.
      dimension: Number of values in an update.
      delta: Probability with which epsilon may fail, between 0 and 1.
      confidence: Probability, at least, with which the lower bound holds.
      releases: Number of releases over which the largest cosine was taken.
      unobserved: Cosines of canaries that were not sent, float64[n]. The estimate needs them with
        several releases, because no closed form is known then. The bound does not use them.

    Raises:
      ValueError: If there are fewer than two canaries, a number is out of range, or `unobserved` is
        missing.
    """
    if len(cosines) < 2:
        raise ValueError(f"{len(cosines)} canaries: their spread needs at least two")
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
    """Returns the smallest epsilon for which two Gaussians are (epsilon, delta)-close.

    The value is exact and covers both directions, as in the paper. If a standard deviation is 0, it
    is infinite, unless the two Gaussians are equal.

    Args:
      mean_0: Mean of the first Gaussian.
      deviation_0: Standard deviation of the first Gaussian.
      mean_1: Mean of the second Gaussian.
      deviation_1: Standard deviation of the second Gaussian.
      delta: Probability with which epsilon may fail, between 0 and 1.

    Raises:
      ValueError: If delta is out of range.
    """
    if not 0 < delta < 1:
        raise ValueError(f"delta {delta}: must be between 0 and 1")
    if min(deviation_0, deviation_1) <= 0:
        return 0.0 if (mean_0, deviation_0) == (mean_1, deviation_1) else math.inf
    # Each pair describes one Gaussian, in units of the other one.
    pairs = (
        ((mean_1 - mean_0) / deviation_0, deviation_1 / deviation_0),
        ((mean_0 - mean_1) / deviation_1, deviation_0 / deviation_1),
    )

    def excess(epsilon: float) -> float:
        largest = max(_log_divergence(*pair, epsilon) for pair in pairs)
        # The root search cannot handle infinity.
        return max(largest, -1e6) - math.log(delta)

    if excess(0.0) <= 0:
        return 0.0
    high = 1.0
    while excess(high) > 0:
        high *= 2
    return float(scipy.optimize.brentq(excess, 0.0, high, xtol=1e-12, rtol=1e-12))


def _log_divergence(mean: float, deviation: float, epsilon: float) -> float:
    """Returns log(max(0, P(S) - e^epsilon Q(S))) for P = N(mean, deviation^2) and Q = N(0, 1).

    S is the set where the density of P is more than e^epsilon times the density of Q, that is,
    where a y^2 + b y + c > 0. S is outside of the roots if a > 0, between them if a < 0, and a
    half-line if a = 0.
    """
    precision = deviation**-2
    a = 0.5 * (1 - precision)
    b = mean * precision
    c = -math.log(deviation) - 0.5 * mean**2 * precision - epsilon
    discriminant = b * b - 4 * a * c
    if discriminant <= 0:
        return -math.inf  # S is empty, or S is everything and 1 - e^epsilon is not positive.
    # With this formula, no root is the difference of two nearly equal numbers.
    half = -0.5 * (b + math.copysign(math.sqrt(discriminant), b))
    far = half / a if a else -math.copysign(math.inf, b)
    low, high = sorted((far, c / half))
    inside = a < 0
    log_p = _log_mass((low - mean) / deviation, (high - mean) / deviation, inside)
    log_q = _log_mass(low, high, inside)
    gap = epsilon + log_q - log_p
    return log_p + math.log1p(-math.exp(gap)) if gap < 0 else -math.inf


def _log_mass(low: float, high: float, inside: bool) -> float:
    """Returns log P(low < Z < high) for a standard normal Z, or of the complement if not inside."""
    if not inside:
        tails = np.logaddexp(scipy.special.log_ndtr(low), scipy.special.log_ndtr(-high))
        return float(tails)
    if low > 0:  # Left tails are precise, so the interval is mirrored.
        low, high = -high, -low
    upper, lower = (float(scipy.special.log_ndtr(end)) for end in (high, low))
    return upper + math.log1p(-math.exp(lower - upper)) if lower < upper else -math.inf
