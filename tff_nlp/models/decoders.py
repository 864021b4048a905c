"""Decoders: a GPT-2 backbone, or one like it, with its tokenizer."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp import seeds
from tff_nlp.errors import UserError, setting
from tff_nlp.models import functional
from tff_nlp.models.byte_pairs import BytePairTokenizer
from tff_nlp.models.encoders import GELUS, check_sizes, zero_variables

# Standard deviation of GPT-2's initial weights (Radford et al. 2018, section 4.1).
INITIALIZER_RANGE = 0.02

# The last kernel of each residual branch.
_RESIDUAL = ("/attention_output/kernel", "/feedforward_output_dense/kernel")


@dataclasses.dataclass(frozen=True)
class Decoder:
    """A GPT-2 without its output layer.

    Attributes:
      name: Preset, folder or "random", for messages and records.
      backbone: A `keras_nlp.models.GPT2Backbone`.
      tokenizer: Tokenizer of the backbone.
      pretrained: Whether the weights are pretrained.
    """

    name: str
    backbone: Any
    tokenizer: BytePairTokenizer
    pretrained: bool

    @property
    def cached_heads(self) -> tuple[int, int]:
        """Number of heads of keys and values, and the size of a head."""
        heads = self.backbone.num_heads
        return heads, self.backbone.hidden_dim // heads

    def embed(self, token_ids: tf.Tensor, place: Any) -> tf.Tensor:
        """Returns the input of the first layer, float32[batch, tokens, width].

        Args:
          token_ids: int32[batch, tokens].
          place: int32[], the position of the first of these tokens in its text.
        """
        tokens = self.backbone.token_embedding(token_ids)
        return tokens + self.backbone.position_embedding(tokens, start_index=place)


def random(
    texts: Sequence[str],
    *,
    layers: int = 2,
    width: int = 128,
    heads: int = 2,
    vocabulary_size: int = 8000,
    max_tokens: int = 128,
    dropout: float = 0.1,
    seed: int = 0,
) -> Decoder:
    """Builds a GPT-2 with random weights and a byte-pair vocabulary learned from texts.

    Args:
      texts: The corpus that the vocabulary is learned from.
      layers: Number of transformer layers.
      width: Hidden size. The feed-forward layers are four times as wide.
      heads: Number of attention heads. It must divide `width`.
      vocabulary_size: Maximum number of tokens, 257 or more.
      max_tokens: Maximum input length: number of position embeddings.
      dropout: Dropout rate.
      seed: Seed of the run. It determines the initial weights.

    Raises:
      UserError: If a size is not possible.
    """
    check_sizes(layers, width, heads, max_tokens)
    if not 0 <= dropout < 1:
        raise UserError(f"`dropout`={dropout}: must be at least 0 and below 1")
    tokenizer = BytePairTokenizer.train(texts, vocabulary_size)
    backbone = build_backbone(
        vocabulary_size=len(tokenizer.vocabulary),
        num_layers=layers,
        num_heads=heads,
        hidden_dim=width,
        intermediate_dim=4 * width,
        max_sequence_length=max_tokens,
        dropout=dropout,
    )
    initialize(backbone, seed)
    return Decoder("random", backbone, tokenizer, pretrained=False)


def build_backbone(
    *,
    gelu: str = "tanh",
    dropout: float = 0.1,
    embedding_dropout: float | None = None,
    attention_dropout: float | None = None,
    layer_norm_epsilon: float = 1e-5,
    **sizes: int,
) -> Any:
    """Builds a `keras_nlp.models.GPT2Backbone` with weights that are all zero.

    Args:
      gelu: How gelu is computed: "tanh" (as in GPT-2) or "exact".
      dropout: Dropout rate of the residual branches.
      embedding_dropout: Dropout rate of the embeddings. None for `dropout`.
      attention_dropout: Dropout rate of the attention probabilities. None for `dropout`.
      layer_norm_epsilon: Number that the layer norms add to the variance.
      **sizes: Sizes of `GPT2Backbone`.

    Raises:
      UserError: If Keras computes in another type than float32.
    """
    import keras_nlp

    check_compute_dtype()
    with zero_variables():
        backbone = keras_nlp.models.GPT2Backbone(dropout=dropout, **sizes)
    # GPT2Backbone has no arguments for these values. The layers read them at each call.
    backbone.layer_norm.epsilon = layer_norm_epsilon
    if embedding_dropout is not None:
        backbone.embeddings_dropout.rate = embedding_dropout
    for layer in backbone.transformer_layers:
        layer._feedforward_intermediate_dense.activation = GELUS[gelu]
        layer._self_attention_layer_norm.epsilon = layer_norm_epsilon
        layer._feedforward_layer_norm.epsilon = layer_norm_epsilon
        if attention_dropout is not None:
            layer._self_attention_layer._dropout_layer.rate = attention_dropout
    return backbone


def check_compute_dtype() -> None:
    """Checks that Keras computes in float32.

    Raises:
      UserError: If Keras computes in another type.
    """
    # KerasNLP's GPT-2 fails in bfloat16 with a stack trace: NumPy's square root cannot handle it.
    dtype = tf.keras.mixed_precision.global_policy().compute_dtype
    if dtype != "float32":
        raise UserError(
            f"{setting('compute_dtype', dtype)}: a language model computes in float32 only"
        )


def initialize(backbone: Any, seed: int) -> None:
    """Sets GPT-2's random initial weights: normal values, layer norm scales 1, biases 0.

    The standard deviation is 0.02. For the last kernel of each residual branch, it is divided by
    the square root of the number of such branches, which is two per layer (Radford et al. 2019,
    section 2.3).

    Args:
      backbone: A `keras_nlp.models.GPT2Backbone`.
      seed: Seed of the run.
    """
    scale = (2 * backbone.num_layers) ** -0.5
    for weight in functional.weights_of(backbone):
        shape = tuple(weight.variable.shape)
        if weight.name.endswith("/gamma"):
            value = np.ones(shape, np.float32)
        elif weight.name.endswith(("/beta", "/bias")):
            value = np.zeros(shape, np.float32)
        else:
            generator = seeds.generator(seed, "initial_weights", "decoder", weight.name)
            value = generator.standard_normal(shape, np.float32) * np.float32(INITIALIZER_RANGE)
            if weight.name.endswith(_RESIDUAL):
                value *= np.float32(scale)
        weight.variable.assign(value)
