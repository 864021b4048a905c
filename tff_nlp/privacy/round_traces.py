"""What one round's release shows of its canaries and of its noise, in a few numbers.

Canaries are known, so what they sent can be taken off a release. What remains is the other clients'
updates and the noise, if the round was as stated: `tff_nlp.privacy.round_audit` asks whether it
can have been. All lengths are in clipping norms, on the sum over clients.
"""

import dataclasses
from collections.abc import Collection, Sequence

import numpy as np

from tff_nlp.privacy import canaries


@dataclasses.dataclass(frozen=True)
class Trace:
    """What remains of a round's release when the round's canaries are taken off.

    Attributes:
      round: The round, from 1.
      canaries: Which canaries took part, sorted.
      squares: Squared L2 length of the remainder, one number per tensor.
      newcomers: Squared L2 length of the sum of those canaries that never took part before; 0
        without any.
      product: Scalar product of that sum and the remainder.
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
    """Returns the trace of one round. Each canary is drawn again; none is kept.

    Args:
      number: The round, from 1.
      released: The noisy sum over clients in clipping norms, as the arrays of an update.
      sent: Which canaries took part.
      before: Which canaries took part in an earlier round.
      seed: The run's.
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
    """Returns the scalar product, added up in double precision."""
    return float(np.sum(first * second, dtype=np.float64))
