"""A few numbers about the canaries and the noise in the release of one round.

The auditor knows the canaries, so their updates can be subtracted from a release. If the round was
as stated, the remainder consists of the other clients' updates and the noise.
`tff_nlp.privacy.round_audit` tests this. All lengths are those of the sum over clients, in clipping
norms.
"""

import dataclasses
from collections.abc import Collection, Sequence

import numpy as np

from tff_nlp.privacy import canaries


@dataclasses.dataclass(frozen=True)
class Trace:
    """Numbers about the remainder: the release of a round minus the round's canaries.

    Attributes:
      round: Number of the round, from 1.
      canaries: Numbers of the canaries that took part, ascending.
      squares: Squared L2 norm of the remainder, per tensor.
      newcomers: Squared L2 norm of the sum of the canaries that took part for the first time. 0 if
        there are none.
      product: Scalar product of this sum and the remainder.
    """

    round: int
    canaries: tuple[int, ...]
    squares: tuple[float, ...]
    newcomers: float
    product: float


def trace(
    number: int,
    released: Sequence[np.ndarray],
    sent: Collection[int],
    before: Collection[int],
    seed: int,
) -> Trace:
    """Returns the trace of one round. It draws each canary again, so none is stored.

    Args:
      number: Number of the round, from 1.
      released: Noisy sum over clients in clipping norms, as the arrays of an update.
      sent: Numbers of the canaries that took part.
      before: Numbers of the canaries that took part in an earlier round.
      seed: Seed of the run.
    """
    shapes = [part.shape for part in released]
    remainder = [np.array(part, np.float32) for part in released]
    newcomers = [np.zeros(shape, np.float32) for shape in shapes]
    took_part = sorted(set(sent))
    for index in took_part:
        update = canaries.canary(seed, index, shapes)
        for whole, fresh, part in zip(remainder, newcomers, update, strict=True):
            whole -= part
            if index not in before:
                fresh += part
    return Trace(
        round=number,
        canaries=tuple(took_part),
        squares=tuple(_product(part, part) for part in remainder),
        newcomers=sum(_product(part, part) for part in newcomers),
        product=sum(map(_product, newcomers, remainder)),
    )


def _product(first: np.ndarray, second: np.ndarray) -> float:
    """Returns the scalar product, summed in double precision."""
    return float(np.sum(first * second, dtype=np.float64))
