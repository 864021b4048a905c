"""Which adapters and choices of trained weights go together. This file needs no TensorFlow.

So a script can check its flags before TensorFlow is loaded, and a model checks its arguments. Both
report the same sentences.
"""

import re

from tff_nlp.errors import UserError, setting
from tff_nlp.models.adapters import names


def check(trainable: str, adapter: str) -> None:
    """Raises UserError if an adapter would change matrices that train themselves.

    Args:
      trainable: The choice of trained weights.
      adapter: The kind of the adapter.
    """
    trains_matrices = trainable == "no_embeddings" or re.fullmatch(r"top_\d+", trainable)
    if trainable == "all" and adapter != names.NONE:
        raise UserError(f"`trainable`={trainable}: an adapter is for a network that is frozen")
    if adapter == names.LORA and trains_matrices:
        raise UserError(
            f"`trainable`={trainable}: trains matrices, and `adapter`=lora is for matrices that "
            "are frozen; take adapter or biases"
        )


def check_decoder(trainable: str, adapter: str) -> None:
    """Raises UserError if a language model has no such weights, or no place for an adapter.

    Args:
      trainable: The choice of trained weights.
      adapter: The kind of the adapter.
    """
    if trainable == "head":
        raise UserError(
            f"{setting('trainable', trainable)}: a language model has no head, because its token "
            "table computes the logits; take adapter or biases"
        )
    # The attention of a decoder computes with a cache and offers no place for a prefix.
    if adapter == names.PREFIX:
        raise UserError("`adapter`=prefix: is for encoders; take lora or houlsby for a decoder")
