"""Discrete Gaussian noise that clients share, and the grid on which their updates lie.

Kairouz, Liu and Steinke 2021, "The Distributed Discrete Gaussian Mechanism for Federated Learning
with Secure Aggregation". Each of n clients rounds its update to integers and adds discrete Gaussian
noise of variance sigma^2; what is summed modulo 2^bits has the sum of their noises. By the paper's
theorem on sums that is as good as one discrete Gaussian of variance n sigma^2, up to tau = 10 sum_k
exp(-2 pi^2 sigma^2 k / (k + 1)), and so satisfies concentrated DP like the Gaussian mechanism of
that variance. From a sigma of 3 on tau is below n 10^-37 and is left out.

Rounding makes updates longer. Here that is paid in noise and not in epsilon: the noise is in
proportion to the longest integer vector that a client can send, which the client enforces.
"""

import dataclasses
import functools
import math

import numpy as np

from tff_nlp import errors

MOST_BITS = 22
# Of a sum's coordinate, so many standard deviations fit the modulus: 2e-9 of them wrap around.
_STDDEVS = 6
# Rounding up or down at random exceeds the bound on the norm with probability exp(-8) at most; the
# client then rounds towards zero.
_LOG_BETA = 8.0
_SMALLEST_STDDEV, _LARGEST_STDDEV = 3.0, 2.0**14
# Of the longest rounded vector over the clipping norm: more is mostly noise for rounding's sake.
_LARGEST_STRETCH = 2.0
# Float32 holds the scaled numbers exactly enough up to here.
_LARGEST_SCALED_NORM = 2.0**22


@dataclasses.dataclass(frozen=True)
class Grid:
    """How updates become integers.

    Attributes:
      scale: Integer steps per unit of an update.
      longest: Largest L2 norm of a client's integers, before noise.
      stddev: Standard deviation of a client's noise, in integer steps; 0 without noise.
      bits: The sum is taken modulo 2^bits.
      stretch: `longest` over the clipping norm in integer steps: what rounding costs in noise.
    """

    scale: float
    longest: float
    stddev: float
    bits: int
    stretch: float


def plan(
    noise_multiplier: float, clipping_norm: float, clients: int, dimension: int, bits: int
) -> Grid:
    """Returns the finest grid whose sums fit the modulus.

    Args:
      noise_multiplier: Standard deviation of the noise on the sum over the longest vector.
      clipping_norm: L2 norm to which updates are clipped.
      clients: How many send; all of them.
      dimension: How many numbers an update has, a power of two.
      bits: Width of the integers.

    Raises:
      UserError: If so few bits leave no grid on which the noise is what it should be.
    """
    found = _plan(noise_multiplier, clipping_norm, clients, dimension, bits)
    if found is not None:
        return found
    wider = (
        width
        for width in range(bits + 1, MOST_BITS + 1)
        if _plan(noise_multiplier, clipping_norm, clients, dimension, width)
    )
    enough = next(wider, None)
    advice = (
        "train fewer parameters or take more clients"
        if enough is None
        else f"take {enough} or more"
    )
    raise errors.UserError(
        f"--distributed_bits={bits}: too few for {dimension:,} numbers from {clients} clients, the "
        f"rounding would outweigh the update or the noise; {advice}"
    )


def _longest(scaled_norm: float, dimension: int) -> float:
    """Returns the bound on a rounded vector's norm that the paper has for rounding at random."""
    root = math.sqrt(dimension)
    likely = scaled_norm**2 + dimension / 4 + math.sqrt(2 * _LOG_BETA) * (scaled_norm + root / 2)
    return min(math.sqrt(likely), scaled_norm + root)


def _plan(noise: float, norm: float, clients: int, dimension: int, bits: int) -> Grid | None:
    def fits(scaled: float) -> bool:
        longest = _longest(scaled, dimension)
        # After a random rotation the sum of n updates has coordinates of about n / sqrt(d).
        spread = (scaled * clients) ** 2 / dimension + clients / 4 + (noise * longest) ** 2
        local = noise * longest / math.sqrt(clients)
        return _STDDEVS * math.sqrt(spread) <= 2 ** (bits - 1) and local <= _LARGEST_STDDEV

    low, high = 0.0, _LARGEST_SCALED_NORM
    if fits(high):
        low = high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    if not low:
        return None
    longest = _longest(low, dimension)
    stddev, stretch = noise * longest / math.sqrt(clients), longest / low
    if stretch > _LARGEST_STRETCH or (noise and stddev < _SMALLEST_STDDEV):
        return None
    return Grid(low / norm, longest, stddev, bits, stretch)


@functools.lru_cache(maxsize=4)
def thresholds(stddev: float) -> np.ndarray:
    """Returns int64[2 m], the law of discrete Gaussian noise for uniform numbers of 63 bits.

    A uniform integer from 0 to 2^63 - 1 gives the noise -m + (how many thresholds are at most that
    integer). The tail ends at m, beyond which the mass is below 2^-63: about 9 standard deviations.

    Args:
      stddev: Standard deviation in integer steps, at least 3.
    """
    most = math.ceil(10 * stddev)
    steps = np.arange(-most, most + 1, dtype=np.longdouble)
    weights = np.exp(-(steps**2) / (2 * np.longdouble(stddev) ** 2))
    # The lower half is added up from its tail, where the numbers are small; the law is symmetric.
    lower = np.cumsum(weights[:most]) / weights.sum() * np.longdouble(2) ** 63
    lower = lower.astype(np.int64)
    lower = lower[lower > 0]
    return np.concatenate([lower, np.iinfo(np.int64).max - (lower[::-1] - 1)])
