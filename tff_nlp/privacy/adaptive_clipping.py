"""The noise of adaptive clipping: one part for the updates, one for the count of unclipped clients.

Andrew et al. 2021, "Differentially Private Learning with Adaptive Clipping", theorem 1.
"""

import dataclasses
import math

from tff_nlp.errors import UserError
from tff_nlp.privacy import mechanism_checks

# Default standard deviation of the count's noise, as a fraction of the cohort (section 3.1:
# "sigma_b = m / 20").
COUNT_NOISE_SHARE = 0.05


@dataclasses.dataclass(frozen=True)
class NoiseSplit:
    """Two parts of noise. Together they cost as much privacy as the total noise multiplier.

    Attributes:
      updates: Noise multiplier on the sum of the clipped updates. It is a little larger than the
        total noise multiplier.
      count_stddev: Standard deviation of the noise on the count of unclipped clients.
    """

    updates: float
    count_stddev: float


def split_noise(
    noise_multiplier: float, clients_per_round: float, count_stddev: float | None = None
) -> NoiseSplit:
    """Splits noise so that z^-2 = z_updates^-2 + (2 sigma_b)^-2 (theorem 1).

    The factor 2 is there because a client changes the centred count by at most one half.

    Args:
      noise_multiplier: Total noise multiplier z, for the accountant. 0 for no noise.
      clients_per_round: Expected cohort size.
      count_stddev: Standard deviation sigma_b of the count's noise. The default is a twentieth of
        the cohort.

    Raises:
      UserError: If an argument is out of range, or z is not below 2 sigma_b (by default a tenth of
        the cohort). Then the count alone would cost all of the privacy budget.
    """
    mechanism_checks.check_noise_multiplier(noise_multiplier)
    mechanism_checks.check_cohort(clients_per_round)
    if count_stddev is not None and not 0 < count_stddev < math.inf:
        raise UserError(f"`clipped_count_stddev`={count_stddev:g}: must be above 0 and finite")
    if noise_multiplier == 0:
        return NoiseSplit(0.0, 0.0)
    if count_stddev is None:
        count_stddev = COUNT_NOISE_SHARE * clients_per_round
    # Without the slack, rounding would allow an extreme split for cohorts exactly at the limit.
    if noise_multiplier >= 2 * count_stddev * (1 - 1e-9):
        raise UserError(
            f"`noise_multiplier`={noise_multiplier:g}: adaptive clipping needs it below"
            f" {2 * count_stddev:g}, twice the noise on its count of clients, with"
            f" `clients_per_round`={clients_per_round:g}; take a larger cohort (above"
            f" {noise_multiplier / (2 * COUNT_NOISE_SHARE):g}), less noise or fixed clipping"
        )
    return NoiseSplit(
        (noise_multiplier**-2 - (2 * count_stddev) ** -2) ** -0.5,
        count_stddev,
    )
