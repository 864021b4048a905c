"""The signal-to-noise ratio of a round, which predicts whether private training works."""

import math


def noise_on_mean(noise_multiplier: float, clipping_norm: float, clients_per_round: float) -> float:
    """Returns the standard deviation of the noise on each coordinate of the mean update.

    Args:
      noise_multiplier: Standard deviation of the noise on the sum over the clipping norm.
      clipping_norm: L2 norm to which each client's update is clipped.
      clients_per_round: Denominator of the mean: the expected cohort size, not the actual one.
    """
    return noise_multiplier * clipping_norm / clients_per_round


def signal_to_noise(signal_norm: float, noise_stddev: float, parameters: int) -> float:
    """Returns the L2 norm of the mean update over the expected L2 norm of its noise.

    Below about 1, a single round is mostly noise. For the mean over T rounds with similar updates,
    the ratio grows with the square root of T.

    Args:
      signal_norm: L2 norm of the mean of the clipped updates.
      noise_stddev: Standard deviation of the noise on each coordinate of the mean.
      parameters: Number of trained coordinates. Each of them gets noise.
    """
    if noise_stddev == 0:
        return math.inf
    return signal_norm / (noise_stddev * math.sqrt(parameters))
