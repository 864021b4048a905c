"""A trained classifier as a plain BERT: its sizes and its weights by name, without Keras."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tff_nlp.errors import UserError
from tff_nlp.models import classifier, encoders, huggingface
from tff_nlp.models.adapters.names import LORA
from tff_nlp.models.tokenizer import Tokenizer

HEAD = "classifier"
TABLES = tuple(
    f"embeddings.{name}_embeddings.weight" for name in ("word", "position", "token_type")
)


@dataclasses.dataclass(frozen=True, eq=False)
class PlainBert:
    """A BERT classifier. Its tensors have the names and layouts of Hugging Face checkpoints.

    Attributes:
      tensors: float32 arrays by name, without "bert."; the head is "classifier". Dense kernels are
        [out, in].
      layers: Number of transformer layers.
      heads: Number of attention heads.
      gelu: How gelu is computed, a name of `encoders.GELUS`.
      epsilon: Number that the layer norms add to the variance.
      pooling: Input of the head, of `classifier.POOLINGS`.
      tokenizer: The tokenizer.
      label_names: Names of the labels, in index order.
      max_tokens: Maximum number of tokens, including [CLS] and [SEP]. Longer texts are cut.
      strip_prefix: Prefix to remove once from the start of each text.
      reads_pairs: Whether the model labels pairs of texts.
    """

    tensors: Mapping[str, np.ndarray] = dataclasses.field(repr=False)
    layers: int
    heads: int
    gelu: str
    epsilon: float
    pooling: str
    tokenizer: Tokenizer
    label_names: tuple[str, ...]
    max_tokens: int
    strip_prefix: str
    reads_pairs: bool

    @property
    def width(self) -> int:
        """Hidden size."""
        return self.tensors[TABLES[0]].shape[1]

    @property
    def matrices(self) -> tuple[str, ...]:
        """Names of the tables and of the kernels of the encoder, which are almost all of it."""
        return tuple(
            name
            for name, value in self.tensors.items()
            if value.ndim == 2 and not name.startswith(HEAD)
        )


def of_classifier(
    model: classifier.Classifier,
    trainable: Sequence[np.ndarray],
    frozen: Sequence[np.ndarray],
    *,
    pooling: str,
    label_names: Sequence[str],
    max_tokens: int,
    strip_prefix: str = "",
) -> PlainBert:
    """Returns the weights of a classifier by name.

    Args:
      model: The classifier. Low-rank factors must be folded into the weights (`folding.fold`).
      trainable: Arrays in the order of the classifier's `trainable_names`.
      frozen: Arrays in the order of the classifier's `frozen_names`.
      pooling: Pooling that the classifier was built with.
      label_names: Names of the labels, in index order.
      max_tokens: Maximum number of tokens, including [CLS] and [SEP].
      strip_prefix: Prefix to remove once from the start of each text.

    Raises:
      UserError: If there is an adapter in the network.
    """
    if model.has_adapter:
        raise UserError(
            f"`adapter`: only {LORA} can be merged into the weights; another adapter is a layer "
            "that plain BERT does not have"
        )
    names = (*model.trainable_names, *model.frozen_names)
    weights = dict(zip(names, map(np.asarray, (*trainable, *frozen)), strict=True))
    head = {"weight": weights.pop("head/kernel").T, "bias": weights.pop("head/bias")}
    tensors = huggingface.to_tensors(weights)
    tensors |= {f"{HEAD}.{leaf}": np.ascontiguousarray(value) for leaf, value in head.items()}
    layers = model.transformer_layers()
    return PlainBert(
        tensors=tensors,
        layers=len(layers),
        heads=layers[0]._self_attention_layer._num_heads,
        gelu=_gelu(layers[0]._feedforward_intermediate_dense.activation),
        epsilon=float(layers[0]._feedforward_layer_norm.epsilon),
        pooling=pooling,
        tokenizer=model.tokenizer,
        label_names=tuple(label_names),
        max_tokens=max_tokens,
        strip_prefix=strip_prefix,
        reads_pairs=model.reads_pairs,
    )


def _gelu(activation: Callable[[tf.Tensor], tf.Tensor]) -> str:
    """Returns the name of a gelu. A preset has a function of its own, so the values decide."""
    one = tf.constant(1.0)
    value = float(activation(one))
    return min(encoders.GELUS, key=lambda name: abs(float(encoders.GELUS[name](one)) - value))
