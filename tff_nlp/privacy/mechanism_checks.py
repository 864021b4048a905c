"""Checks of numbers that every mechanism has. This module does not use TensorFlow."""

import math

from tff_nlp import errors


def check_noise_multiplier(noise_multiplier: float) -> None:
    """Checks that a noise multiplier is 0 or more, and finite.

    Raises:
      UserError: If it is not.
    """
    if not 0 <= noise_multiplier < math.inf:
        raise errors.UserError(
            f"`noise_multiplier`={noise_multiplier:g}: must be 0 or more, and finite"
        )


def check_clipping_norm(norm: float) -> None:
    """Checks that a clipping norm is above 0 and finite.

    Raises:
      UserError: If it is not.
    """
    if not 0 < norm < math.inf:
        raise errors.UserError(f"`clipping_norm`={norm:g}: must be above 0 and finite")


def check_cohort(clients_per_round: float) -> None:
    """Checks that an expected cohort size is 1 or more, and finite.

    Raises:
      UserError: If it is not.
    """
    if not 1 <= clients_per_round < math.inf:
        raise errors.UserError(f"`clients_per_round`={clients_per_round:g}: must be 1 or more")
