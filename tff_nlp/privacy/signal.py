"""How loud the noise is beside what it hides: one number that foretells whether training works."""

import math


def noise_on_mean(noise_multiplier: float, clipping_norm: float, clients_per_round: float) -> float:
    """Returns the standard deviation of the noise on each coordinate of the mean update.

    Args:
      noise_multiplier: Standard deviation of the noise on the sum over the clipping norm.
      clipping_norm: L2 norm to which each client's update is clipped.
      clients_per_round: The denominator, which is the expected cohort, not the actual one.
    """
    return noise_multiplier * clipping_norm / clients_per_round


def signal_to_noise(signal_norm: float, noise_stddev: float, parameters: int) -> float:
    """Returns the L2 norm of the mean update over the expected L2 norm of its noise.

    Below about 1 a single round is mostly noise; averaged over T rounds that agree, the ratio grows
    with the root of T.

    Args:
      signal_norm: L2 norm of the mean of the clipped updates.
      noise_stddev: Standard deviation of the noise on each coordinate of the mean.
      parameters: The number of coordinates that are trained and so get noise.
    """
    if noise_stddev == 0:
        return math.inf
    return signal_norm / (noise_stddev * math.sqrt(parameters))
