"""Clients with low-rank factors of different ranks, for devices of different strength.

A client of rank r trains the first r columns of A and the first r rows of B. The rest of its
factors is zero. A gradient of A needs B and the other way round, so the rest stays zero for every
client optimizer. The mean of the products is exact for any ranks (Wang et al. 2024, "FLoRA:
Federated Fine-Tuning Large Language Models with Heterogeneous Low-Rank Adaptations", section 3).
The factor alpha / rank is that of the largest rank for all clients, so that all products have the
same scale.
"""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from tff_nlp import errors
from tff_nlp.aggregation import factor_products
from tff_nlp.tasks import task as tasks


@dataclasses.dataclass(frozen=True)
class MixedRanks:
    """The factors of which a client may train only a part.

    Attributes:
      factors: The places of the factors in the weights, from the task.
      largest: The largest rank, which is that of the factors.
    """

    factors: tuple[tasks.Factors, ...]
    largest: int

    def narrow(self, trainable: Sequence[tf.Tensor], rank: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Returns the weights from which a client of a rank starts.

        Args:
          trainable: The trainable weights.
          rank: int32, from 1 to `largest`.
        """
        narrowed = list(trainable)
        kept = tf.sequence_mask(rank, self.largest, trainable[0].dtype)
        for places in self.factors:
            b = narrowed[places.b]
            narrowed[places.a] *= kept
            narrowed[places.b] *= tf.reshape(kept, [-1, *[1] * (b.shape.rank - 1)])
        return tuple(narrowed)


def check(ranks: MixedRanks | None, aggregator: object) -> None:
    """Refuses clients of different ranks where the server does not take exact products.

    Raises:
      UserError: If there are ranks, and factors do not start anew in each round.
    """
    starts_anew = (
        isinstance(aggregator, factor_products.FactorMeanFactory) and aggregator.starts_anew
    )
    if ranks is not None and not starts_anew:
        raise errors.UserError(
            "`ranks`: a client of a small rank would lose a part of B, which does not start from "
            "zero in each round; take an aggregator that starts anew (`lora_aggregation`=flora)"
        )
