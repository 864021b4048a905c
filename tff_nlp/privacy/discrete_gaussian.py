"""Discrete Gaussian noise that the clients add together, and the grid of their updates.

Kairouz, Liu and Steinke 2021, "The Distributed Discrete Gaussian Mechanism for Federated Learning
with Secure Aggregation". Each of n clients rounds its update to integers and adds discrete Gaussian
noise of variance sigma^2. The sum modulo 2^bits contains the sum of these noises. By the paper's
theorem on sums, this is as good as one discrete Gaussian of variance n sigma^2, up to
tau = 10 sum_k exp(-2 pi^2 sigma^2 k / (k + 1)). So it satisfies the same concentrated DP as the
Gaussian mechanism with that variance. For sigma >= 3, tau is below n 10^-37 and is ignored.

Rounding makes updates longer. This increases the noise and not epsilon: the noise is proportional
to the longest integer vector that a client can send. The client enforces this length.
"""

import dataclasses
import functools
import math

import numpy as np

from tff_nlp import errors

MOST_BITS = 22
# Number of standard deviations of a sum's coordinate that fit into the modulus on each side. A
# fraction of 2e-9 of the coordinates wraps around.
_STDDEVS = 6
# Random rounding exceeds the bound on the norm with probability at most exp(-8). The client then
# rounds towards zero.
_LOG_BETA = 8.0
_SMALLEST_STDDEV, _LARGEST_STDDEV = 3.0, 2.0**14
# Maximum of the longest rounded vector over the clipping norm. With more, most of the noise would
# only cover the rounding.
_LARGEST_STRETCH = 2.0
# Up to this norm, float32 is precise enough for the scaled numbers.
_LARGEST_SCALED_NORM = 2.0**22


@dataclasses.dataclass(frozen=True)
class Grid:
    """The conversion of updates to integers.

    Attributes:
      scale: Integer steps per unit of an update.
      longest: Largest L2 norm of a client's integers before the noise is added.
      stddev: Standard deviation of a client's noise in integer steps. 0 without noise.
      bits: Bits of the modulus: the sum is taken modulo 2^bits.
      stretch: `longest` over the clipping norm in integer steps. The noise is larger by this
        factor, because of the rounding.
    """

    scale: float
    longest: float
    stddev: float
    bits: int
    stretch: float


def plan(
    noise_multiplier: float, clipping_norm: float, clients: int, dimension: int, bits: int
) -> Grid:
    """Returns the finest grid with sums that fit into the modulus.

    Args:
      noise_multiplier: Standard deviation of the noise on the sum over the norm of the longest
        vector.
      clipping_norm: L2 norm to which updates are clipped.
      clients: Number of clients. All of them must send.
      dimension: Number of values in an update, a power of two.
      bits: Width of the integers.

    Raises:
      UserError: If there are too few bits for a usable grid.
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
        f"`distributed_bits`={bits}: too few for {dimension:,} numbers from {clients} clients, the "
        f"rounding would outweigh the update or the noise; {advice}"
    )


def _longest(scaled_norm: float, dimension: int) -> float:
    """Returns the paper's bound on the norm of a randomly rounded vector."""
    root = math.sqrt(dimension)
    likely = scaled_norm**2 + dimension / 4 + math.sqrt(2 * _LOG_BETA) * (scaled_norm + root / 2)
    return min(math.sqrt(likely), scaled_norm + root)


def _plan(noise: float, norm: float, clients: int, dimension: int, bits: int) -> Grid | None:
    def fits(scaled: float) -> bool:
        longest = _longest(scaled, dimension)
        # After a random rotation, the coordinates of a sum of n updates are about n / sqrt(d).
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
    """Returns thresholds that make discrete Gaussian noise of uniform integers, int64[2 m].

    A uniform integer from 0 to 2^63 - 1 gives the noise -m + (number of thresholds that are at most
    this integer). The tail ends at m, about 9 standard deviations. The probability of larger noise
    is below 2^-63.

    Args:
      stddev: Standard deviation in integer steps, at least 3.
    """
    most = math.ceil(10 * stddev)
    steps = np.arange(-most, most + 1, dtype=np.longdouble)
    weights = np.exp(-(steps**2) / (2 * np.longdouble(stddev) ** 2))
    # The lower half is summed from its tail, where the numbers are small. The upper half is its
    # mirror image.
    lower = np.cumsum(weights[:most]) / weights.sum() * np.longdouble(2) ** 63
    lower = lower.astype(np.int64)
    lower = lower[lower > 0]
    return np.concatenate([lower, np.iinfo(np.int64).max - (lower[::-1] - 1)])
