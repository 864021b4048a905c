"""Encoders: a BERT backbone with its tokenizer."""

import contextlib
import dataclasses
import functools
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp import seeds
from tff_nlp.errors import UserError, setting
from tff_nlp.models.tokenizer import Tokenizer
from tff_nlp.models.vocabulary import train_vocabulary
from tff_nlp.models.words import UNICODE, WordRules

# Standard deviation of BERT's initial weights (Devlin et al. 2019, released code).
INITIALIZER_RANGE = 0.02

GELUS = {
    "exact": tf.keras.activations.gelu,
    "tanh": functools.partial(tf.keras.activations.gelu, approximate=True),
}


# Type that an encoder computes in -> name of Keras's policy.
COMPUTE_DTYPES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


@dataclasses.dataclass(frozen=True)
class Encoder:
    """A BERT encoder.

    Attributes:
      name: Preset, folder or "random", for messages and records.
      backbone: A `keras_nlp.models.BertBackbone`.
      tokenizer: Tokenizer of the backbone.
      pretrained: Whether the weights are pretrained.
      has_pooler: Whether the backbone's pooler has real weights. Some checkpoints have no pooler.
    """

    name: str
    backbone: Any
    tokenizer: Tokenizer
    pretrained: bool
    has_pooler: bool = True


def random(
    texts: Sequence[str],
    *,
    layers: int = 2,
    width: int = 128,
    heads: int = 2,
    vocabulary_size: int = 8000,
    max_tokens: int = 128,
    dropout: float = 0.1,
    lowercase: bool = True,
    strip_accents: bool = False,
    decode_html_entities: bool = False,
    seed: int = 0,
) -> Encoder:
    """Builds a BERT with random weights and a vocabulary learned from texts.

    Args:
      texts: The corpus that the vocabulary is learned from.
      layers: Number of transformer layers.
      width: Hidden size. The feed-forward layers are four times as wide.
      heads: Number of attention heads. It must divide `width`.
      vocabulary_size: Maximum number of word pieces.
      max_tokens: Maximum input length: number of position embeddings.
      dropout: Dropout rate of the encoder.
      lowercase: Whether texts are lower-cased.
      strip_accents: Whether accents of Latin, Greek and Cyrillic letters are removed. Marks of
        other scripts always stay.
      decode_html_entities: Whether HTML entities such as "&amp;" are decoded.
      seed: Seed of the run. It determines the initial weights.

    Raises:
      UserError: If a size is not possible.
    """
    check_sizes(layers, width, heads, max_tokens)
    rules = WordRules(lowercase, strip_accents, UNICODE, decode_html_entities=decode_html_entities)
    vocabulary = train_vocabulary(texts, vocabulary_size, rules)
    backbone = build_backbone(
        vocabulary_size=len(vocabulary),
        num_layers=layers,
        num_heads=heads,
        hidden_dim=width,
        intermediate_dim=4 * width,
        dropout=dropout,
        max_sequence_length=max_tokens,
    )
    initialize(backbone, seed)
    return Encoder("random", backbone, Tokenizer(vocabulary, rules), False)


def check_sizes(layers: int, width: int, heads: int, max_tokens: int) -> None:
    """Checks that a transformer can have these sizes, and that this machine has enough memory.

    Args:
      layers: Number of transformer layers.
      width: Hidden size. The feed-forward layers are four times as wide.
      heads: Number of attention heads.
      max_tokens: Number of position embeddings.

    Raises:
      UserError: If a size is not possible, or if the machine has too little memory.
    """
    for flag, value in (("layers", layers), ("width", width), ("heads", heads)):
        if value < 1:
            raise UserError(f"`encoder_{flag}`={value}: must be 1 or more")
    if width % heads:
        raise UserError(f"`encoder_width`={width}: {heads} heads do not divide it")
    needed = 4 * count_parameters(
        vocabulary_size=0,
        num_layers=layers,
        hidden_dim=width,
        intermediate_dim=4 * width,
        max_sequence_length=max_tokens,
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise UserError(
            f"`encoder_width`={width} `encoder_layers`={layers}: takes {needed / 1e9:,.0f} GB of "
            f"memory, this machine has {memory / 1e9:,.0f}"
        )


def count_parameters(
    *,
    vocabulary_size: int,
    num_layers: int,
    hidden_dim: int,
    intermediate_dim: int,
    max_sequence_length: int,
    num_segments: int = 2,
    **_: Any,
) -> int:
    """Returns the number of parameters of a `BertBackbone` with these sizes, without its pooler."""
    rows = vocabulary_size + max_sequence_length + num_segments
    attention = 4 * (hidden_dim + 1) * hidden_dim
    feed_forward = (hidden_dim + 1) * intermediate_dim + (intermediate_dim + 1) * hidden_dim
    norms = 2 * hidden_dim
    return rows * hidden_dim + norms + num_layers * (attention + feed_forward + 2 * norms)


def check_weights_hold(flag: str, weights: pathlib.Path, sizes: Mapping[str, Any]) -> None:
    """Checks that a file of weights is large enough for a model, before memory is allocated.

    Args:
      flag: Start of the error messages.
      weights: The file.
      sizes: Arguments of `count_parameters`.

    Raises:
      UserError: If the model has more parameters than the file can hold in half precision.
    """
    described, held = count_parameters(**sizes), weights.stat().st_size // 2
    if described > held:
        raise UserError(
            f"{flag}: config.json describes {described:,} parameters, {weights.name} has room for "
            f"{held:,} at most"
        )


def build_backbone(
    *,
    gelu: str = "exact",
    dropout: float = 0.1,
    attention_dropout: float | None = None,
    layer_norm_epsilon: float = 1e-12,
    **sizes: int,
) -> Any:
    """Builds a `keras_nlp.models.BertBackbone` with weights that are all zero.

    Args:
      gelu: How gelu is computed: "exact" (as in PyTorch) or "tanh" (as in BERT's original code and
        KerasNLP).
      dropout: Dropout rate.
      attention_dropout: Dropout rate of the attention probabilities. None for `dropout`.
      layer_norm_epsilon: Number that the layer norms add to the variance.
      **sizes: Sizes of `BertBackbone`.

    Raises:
      UserError: If `gelu` is unknown.
    """
    import keras_nlp

    with zero_variables():
        backbone = keras_nlp.models.BertBackbone(dropout=dropout, **sizes)
    # BertBackbone has no arguments for these values. The layers read them at each call.
    set_gelu(backbone, gelu)
    backbone.embeddings_layer_norm.epsilon = layer_norm_epsilon
    for layer in backbone.transformer_layers:
        layer._self_attention_layer_norm.epsilon = layer_norm_epsilon
        layer._feedforward_layer_norm.epsilon = layer_norm_epsilon
        if attention_dropout is not None:
            layer._self_attention_layer._dropout_layer.rate = attention_dropout
    return backbone


def set_gelu(backbone: Any, gelu: str) -> None:
    """Sets how a `BertBackbone` computes gelu: "exact" or "tanh".

    Raises:
      UserError: If `gelu` is neither.
    """
    if gelu not in GELUS:
        raise UserError(f"{setting('gelu', gelu)}: must be {' or '.join(GELUS)}")
    for layer in backbone.transformer_layers:
        layer._feedforward_intermediate_dense.activation = GELUS[gelu]


def initialize(backbone: Any, seed: int) -> None:
    """Sets BERT's random initial weights: truncated normal, layer norm scales 1, biases 0.

    Args:
      backbone: A `keras_nlp.models.BertBackbone`.
      seed: Seed of the run.
    """
    values = []
    for index, variable in enumerate(backbone.weights):
        kind = variable.name.rpartition("/")[2].partition(":")[0]
        shape = tuple(variable.shape)
        if kind == "gamma":
            values.append(np.ones(shape, np.float32))
        elif kind in ("beta", "bias"):
            values.append(np.zeros(shape, np.float32))
        else:
            values.append(truncated_normal(shape, seed, "encoder", index))
    backbone.set_weights(values)


def truncated_normal(shape: tuple[int, ...], seed: int, *parts: int | str) -> np.ndarray:
    """Returns float32 normal values with standard deviation 0.02, truncated at two deviations."""
    generator = seeds.generator(seed, "initial_weights", *parts)
    values = generator.standard_normal(shape, np.float32)
    beyond = np.abs(values) > 2
    while beyond.any():
        values[beyond] = generator.standard_normal(int(beyond.sum()), np.float32)
        beyond = np.abs(values) > 2
    return values * np.float32(INITIALIZER_RANGE)


@contextlib.contextmanager
def computing_in(dtype: str) -> Iterator[None]:
    """Makes encoders that are built inside the context compute in a type. Weights stay float32.

    Args:
      dtype: One of `COMPUTE_DTYPES`.

    Raises:
      UserError: If the type is unknown.
    """
    if dtype not in COMPUTE_DTYPES:
        raise UserError(
            f"{setting('compute_dtype', dtype)}: must be one of {', '.join(COMPUTE_DTYPES)}"
        )
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(COMPUTE_DTYPES[dtype])
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(before)


@contextlib.contextmanager
def zero_variables() -> Iterator[None]:
    """Makes new variables start with zeros. Real values follow, so random ones would waste time."""

    def create(next_creator: Any, **kwargs: Any) -> Any:
        shape, dtype = kwargs.get("shape"), kwargs.get("dtype")
        if shape is not None and dtype is not None:
            kwargs["initial_value"] = lambda: tf.zeros(shape, dtype)
        return next_creator(**kwargs)

    with tf.variable_creator_scope(create):
        yield
