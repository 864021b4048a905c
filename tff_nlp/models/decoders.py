"""Decoders: a GPT-2 backbone with its tokenizer, and where they come from."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp import seeds
from tff_nlp.errors import UserError
from tff_nlp.models import functional
from tff_nlp.models.byte_pair_vocabulary import check_byte_pairs
from tff_nlp.models.byte_pairs import BytePairTokenizer
from tff_nlp.models.encoders import GELUS, check_sizes, zero_variables

# Standard deviation of GPT-2's initial weights (Radford et al. 2018, section 4.1).
INITIALIZER_RANGE = 0.02

TOKEN_TABLE, POSITION_TABLE = "token_embedding/embeddings", "position_embedding/position_embeddings"
# The last product of each residual branch.
_RESIDUAL = ("/attention_output/kernel", "/feedforward_output_dense/kernel")


@dataclasses.dataclass(frozen=True)
class Decoder:
    """A GPT-2 without the product that gives its logits.

    Attributes:
      name: For people and records: preset, folder or "random".
      backbone: A `keras_nlp.models.GPT2Backbone`.
      tokenizer: Gives the token ids that the backbone reads.
      pretrained: Whether the weights were learned somewhere.
    """

    name: str
    backbone: Any
    tokenizer: BytePairTokenizer
    pretrained: bool


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
      width: Hidden size; the feed-forward layers are four times as wide.
      heads: Attention heads; they must divide `width`.
      vocabulary_size: The most tokens, 257 or more.
      max_tokens: The longest input: number of position embeddings.
      dropout: Dropout rate.
      seed: The run's seed; the weights depend on nothing else.

    Raises:
      UserError: If a size is not possible.
    """
    check_sizes(layers, width, heads, max_tokens)
    if not 0 <= dropout < 1:
        raise UserError(f"--dropout={dropout}: must be at least 0 and below 1")
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


def load(name: str) -> Decoder:
    """Loads a pretrained decoder by what `--encoder` says.

    Args:
      name: A folder with a Hugging Face GPT-2 checkpoint, or a KerasNLP preset: "preset:" and a
        name, handle or folder; a built-in preset's plain name and a preset's folder need no
        "preset:".

    Raises:
      UserError: If there is no such decoder or it cannot be read.
    """
    from tff_nlp.models import huggingface_gpt2

    if name.startswith("preset:"):
        return load_preset(name.removeprefix("preset:"))
    folder = pathlib.Path(name)
    if folder.is_dir():
        # Only a KerasNLP preset has this file.
        if (folder / "metadata.json").exists():
            return load_preset(name)
        return huggingface_gpt2.load_folder(folder)
    import keras_nlp

    presets = keras_nlp.models.GPT2Backbone.presets
    if name in presets:
        return load_preset(name)
    raise UserError(
        f"--encoder={name}: neither random, a folder nor a KerasNLP preset of a GPT-2; presets are "
        f"{', '.join(sorted(presets))}"
    )


def load_preset(preset: str) -> Decoder:
    """Loads a GPT-2 from a KerasNLP preset: a built-in name, a handle ("kaggle://...") or a folder.

    Built-in presets are downloaded from Kaggle at their first use.

    Raises:
      UserError: If it cannot be found, downloaded or read, or is no GPT-2.
    """
    import keras_nlp

    from tff_nlp.models import presets

    _check_compute_dtype()
    models = keras_nlp.models
    backbone, tokenizer = presets.load_parts(preset, models.GPT2Backbone, models.GPT2Tokenizer)
    # KerasNLP keeps the comment of merges.txt among the merges.
    merges = [merge for merge in tokenizer.merges if not merge.startswith("#version")]
    byte_pairs = check_byte_pairs(tokenizer.vocabulary, merges, f"--encoder={preset}")
    return Decoder(preset, backbone, BytePairTokenizer(*byte_pairs), pretrained=True)


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
      gelu: "tanh" (GPT-2's own) or "exact".
      dropout: Dropout rate of the residual branches.
      embedding_dropout: Dropout rate of the embeddings; as `dropout` if None.
      attention_dropout: Dropout rate of the attention's probabilities; as `dropout` if None.
      layer_norm_epsilon: What the layer norms add to the variance.
      **sizes: The sizes that `GPT2Backbone` takes.

    Raises:
      UserError: If it is to compute in another type than float32.
    """
    import keras_nlp

    _check_compute_dtype()
    with zero_variables():
        backbone = keras_nlp.models.GPT2Backbone(dropout=dropout, **sizes)
    # GPT2Backbone has no arguments for what follows; the layers look it up at each call.
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


def _check_compute_dtype() -> None:
    # KerasNLP's GPT-2 fails in bfloat16 with a stack trace: NumPy's square root has no such type.
    dtype = tf.keras.mixed_precision.global_policy().compute_dtype
    if dtype != "float32":
        raise UserError(f"--compute_dtype={dtype}: a language model computes in float32 only")


def initialize(backbone: Any, seed: int) -> None:
    """Sets GPT-2's random initial weights: normal, norms 1, biases 0.

    The deviation is 0.02; that of the last product of a residual branch is smaller by the root of
    the number of such branches, two a layer (Radford et al. 2019, section 2.3).
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
