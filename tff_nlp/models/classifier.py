"""A classifier of texts, or of pairs of texts: an encoder, a pooling and a dense head."""

import dataclasses
import functools
import re
import weakref
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tff_nlp.errors import UserError, setting
from tff_nlp.models import functional, trained_weights
from tff_nlp.models.adapters.adapter import Adapter, Attached, attach
from tff_nlp.models.adapters.lora import Factors
from tff_nlp.models.encoders import Encoder, truncated_normal, zero_variables
from tff_nlp.models.tokenizer import Tokenizer

POOLINGS = ("mean", "cls", "pooler")
TRAINABLE = ("all", "no_embeddings", "top_K", "biases", "head", "adapter")

_TOKEN_EMBEDDING = "token_embedding/embeddings"
# The pooler is part of the head where the pooling reads it.
_HEAD = ("head/", "pooled_dense/")
_HEAD_DROPOUT, _LAYER = "head_dropout", "transformer_layer_"

# Backbones that belong to a classifier. Two classifiers with one backbone would change each other:
# both set which weights train, and `fit` changes the weights.
_taken: "weakref.WeakSet[Any]" = weakref.WeakSet()


@dataclasses.dataclass(frozen=True, eq=False)
class Classifier(functional.WeightsAsValues):
    """A text classifier. Its weights are passed as values.

    Attributes:
      tokenizer: Tokenizer of the model.
      num_labels: Number of labels.
      max_tokens: Maximum number of tokens that the encoder can read.
      trainable_names: Unique names of the trainable weights.
      frozen_names: Unique names of the frozen weights.
      token_embedding: Index of the token embedding table in the trainable weights, or None if it
        does not train. The model reads the table only by gathering rows for `token_ids`.
      reads_pairs: Whether the model reads pairs of texts. Segment ids distinguish the two texts.
      factors: The low-rank factors that train.
    """

    tokenizer: Tokenizer
    num_labels: int
    max_tokens: int
    trainable_names: tuple[str, ...]
    frozen_names: tuple[str, ...]
    token_embedding: int | None
    reads_pairs: bool
    factors: tuple[Factors, ...]
    _network: tf.keras.Model = dataclasses.field(repr=False)
    _weights: tuple[functional.Weight, ...] = dataclasses.field(repr=False)
    _attached: Attached = dataclasses.field(repr=False)
    _fixed: tuple[functional.Fixed, ...] = dataclasses.field(default=(), repr=False)

    @property
    def head_names(self) -> tuple[str, ...]:
        """Names of the trainable weights of the dense head."""
        return tuple(name for name in self.trainable_names if name.startswith(_HEAD))

    @functools.cached_property
    def keras_model(self) -> tf.keras.Model:
        """The Keras model: padded token ids int32[batch, length] -> logits.

        The logits are float32[batch, labels]. The model is built at its first use, which must be
        outside of graphs. It is not compiled. Its trainable weights have the order of
        `trainable_names`.

        Raises:
          TypeError: If the model is the result of `folding.fold`.
        """
        if self._fixed:
            raise TypeError("a model with folded factors has no Keras model")
        token_ids = tf.keras.Input([None], dtype=tf.int32, name="token_ids")
        pairs = self.tokenizer if self.reads_pairs else None
        inputs = PaddedInputs(self.tokenizer.pad_id, pairs, name="padded_inputs")(token_ids)
        return tf.keras.Model(token_ids, self._network(inputs), name="classifier")

    def logits(
        self,
        trainable: Sequence[Any],
        frozen: Sequence[Any],
        token_ids: Any,
        padding_mask: Any,
        *,
        seed: Any | None,
        segment_ids: Any | None = None,
    ) -> tf.Tensor:
        """Computes logits as a pure function. No variable is created or read.

        The token embedding may have other rows than the vocabulary, if `token_ids` are numbered
        to match. Only `padding_mask` decides what is padding.

        Args:
          trainable: Tensors in the order of `trainable_names`.
          frozen: Tensors in the order of `frozen_names`.
          token_ids: int32[batch, length].
          padding_mask: bool[batch, length], true for real tokens.
          seed: Seed of the dropout masks, int32[2]. None for inference without dropout.
          segment_ids: int32[batch, length] from `Tokenizer.segment_ids` if the model reads pairs,
            else None.

        Returns:
          The logits, float32[batch, labels].

        Raises:
          ValueError: If segment ids are missing for pairs, or given for single texts.
        """
        if self.reads_pairs != (segment_ids is not None):
            raise ValueError("a model of pairs needs segment_ids, a model of single texts none")
        inputs = _inputs(
            tf.convert_to_tensor(token_ids), tf.convert_to_tensor(padding_mask), segment_ids
        )
        values = (*trainable, *frozen)
        return functional.call(
            self._network, self._weights, values, inputs, seed=seed, fixed=self._fixed
        )

    def transformer_layers(self) -> list[Any]:
        """Returns the transformer layers of the network, KerasNLP's, in their order."""
        layers = [layer for layer in self._network.layers if layer.name.startswith(_LAYER)]
        return sorted(layers, key=lambda layer: int(layer.name.removeprefix(_LAYER)))

    def layer_inputs(
        self, layer: int, trainable: Sequence[Any], frozen: Sequence[Any], token_ids: Any
    ) -> tf.Tensor:
        """Computes the inputs of a transformer layer for single texts without padding.

        Args:
          layer: Number of the layer, from 0.
          trainable: Tensors in the order of `trainable_names`.
          frozen: Tensors in the order of `frozen_names`.
          token_ids: int32[batch, length].

        Returns:
          The inputs, float32[batch, length, width].
        """
        inner = self._network.get_layer(f"{_LAYER}{layer}").input
        part = tf.keras.Model(self._network.input, inner[0] if isinstance(inner, list) else inner)
        ids = tf.convert_to_tensor(token_ids)
        inputs = _inputs(ids, tf.ones_like(ids, tf.bool), None)
        values = (*trainable, *frozen)
        return functional.call(part, self._weights, values, inputs, seed=None, fixed=self._fixed)


def build(
    encoder: Encoder,
    num_labels: int,
    *,
    pooling: str = "mean",
    trainable: str = "all",
    dropout: float | None = None,
    encoder_dropout: float | None = None,
    seed: int = 0,
    pairs: bool = False,
    adapter: Adapter | None = None,
) -> Classifier:
    """Builds a classifier from an encoder.

    The encoder's backbone becomes part of the classifier, so another classifier needs another
    encoder.

    Args:
      encoder: The encoder.
      num_labels: Number of labels, 2 or more.
      pooling: Input of the head: "mean" (the mean of the real tokens' outputs), "cls" (the first
        token's output) or "pooler" (BERT's dense tanh layer on the first token's output).
      trainable: Which weights train. "all"; "no_embeddings" (all except the three tables and their
        layer norm); "top_K", for example top_2 (the last K transformer layers, the pooler and the
        head); "biases" (every bias and layer norm offset, and the head: BitFit, Ben Zaken et al.
        2022, section 3); "head" (with the pooler if the pooling reads it); or "adapter" (the
        adapter and the head). An adapter always trains.
      dropout: Dropout rate before the head. None for the encoder's own rate.
      encoder_dropout: Dropout rate inside of the encoder. None for the encoder's own rates.
      seed: Seed of the run, for the head's initial weights.
      pairs: Whether the classifier reads pairs of texts.
      adapter: The adapter in the encoder; None for none.

    Raises:
      UserError: If an argument is not possible.
      ValueError: If the encoder already belongs to another classifier.
    """
    if num_labels < 2:
        raise UserError(f"`corpus`: a classifier needs two labels or more, found {num_labels}")
    if pooling not in POOLINGS:
        raise UserError(f"{setting('pooling', pooling)}: must be one of {', '.join(POOLINGS)}")
    if pooling == "pooler" and not encoder.has_pooler:
        raise UserError(f"`pooling`=pooler: the encoder {encoder.name} comes without a pooler")
    dropout = encoder.backbone.dropout if dropout is None else dropout
    if not 0 <= dropout < 1:
        raise UserError(f"`dropout`={dropout}: must be at least 0 and below 1")
    adapter = adapter or Adapter()
    trained_weights.check(trainable, adapter.kind)
    trains = _selection(trainable, encoder.backbone.num_layers)
    if pairs and encoder.backbone.num_segments < 2:
        raise UserError(
            f"`task`=pairs: the encoder {encoder.name} has no segment embedding for a second text"
        )
    if encoder.backbone in _taken:
        raise ValueError("this encoder belongs to another classifier already: load it once more")
    _taken.add(encoder.backbone)
    network = _network(encoder.backbone, num_labels, pooling, dropout)
    if encoder_dropout is not None:
        functional.set_dropout(network, encoder_dropout, but=_HEAD_DROPOUT)
    network.get_layer("head").kernel.assign(
        truncated_normal((encoder.backbone.hidden_dim, num_labels), seed, "head")
    )
    attached = attach(encoder.backbone, adapter, seed)
    chosen, rest = functional.divide(network, trains, attached.trains, attached.stays)
    trainable_names = tuple(weight.name for weight in chosen)
    return Classifier(
        tokenizer=encoder.tokenizer,
        num_labels=num_labels,
        max_tokens=encoder.backbone.max_sequence_length,
        trainable_names=trainable_names,
        frozen_names=tuple(weight.name for weight in rest),
        token_embedding=(
            trainable_names.index(_TOKEN_EMBEDDING) if _TOKEN_EMBEDDING in trainable_names else None
        ),
        reads_pairs=pairs,
        factors=attached.factors(chosen, rest),
        _network=network,
        _weights=(*chosen, *rest),
        _attached=attached,
    )


class MeanPooling(tf.keras.layers.Layer):
    """Averages float32[batch, length, width] over the real tokens of a padding mask."""

    def call(self, outputs: tf.Tensor, padding_mask: tf.Tensor) -> tf.Tensor:
        """Returns float32[batch, width]. A row without real tokens gives zeros."""
        real = tf.cast(padding_mask, outputs.dtype)
        total = tf.linalg.matvec(outputs, real, transpose_a=True)
        return total / tf.maximum(tf.reduce_sum(real, axis=1, keepdims=True), 1.0)


class PaddedInputs(tf.keras.layers.Layer):
    """Computes the network's inputs from int32[batch, length] token ids.

    Args:
      pad_id: Id of padding.
      pairs: Tokenizer that computes the segment ids if rows are pairs of texts, else None.
      **kwargs: Arguments of `tf.keras.layers.Layer`.
    """

    def __init__(self, pad_id: int, pairs: Tokenizer | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._pad_id = pad_id
        self._pairs = pairs

    def call(self, token_ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the inputs of the network."""
        segment_ids = None if self._pairs is None else self._pairs.segment_ids(token_ids)
        return _inputs(token_ids, tf.not_equal(token_ids, self._pad_id), segment_ids)


def _inputs(
    token_ids: tf.Tensor, padding_mask: tf.Tensor, segment_ids: Any | None
) -> dict[str, tf.Tensor]:
    if segment_ids is None:
        # One segment id broadcasts over batch and length, so the table is read once, not per token.
        segment_ids = tf.zeros([1, 1], tf.int32)
    return {
        "token_ids": token_ids,
        "segment_ids": segment_ids,
        "padding_mask": tf.cast(padding_mask, tf.int32),
    }


def _network(backbone: Any, num_labels: int, pooling: str, dropout: float) -> tf.keras.Model:
    """Puts a head on a backbone, without the layers that the pooling does not read.

    The head always computes in float32, which costs almost nothing.
    """
    whole = {"dtype": "float32"}
    if pooling == "pooler":
        pooled = backbone.output["pooled_output"]
    elif pooling == "cls":
        pooled = backbone.output["sequence_output"][:, 0, :]
    else:
        mask = backbone.input["padding_mask"]
        pooled = MeanPooling(name="mean_pooling", **whole)(backbone.output["sequence_output"], mask)
    pooled = tf.keras.layers.Dropout(dropout, name=_HEAD_DROPOUT, **whole)(pooled)
    with zero_variables():
        logits = tf.keras.layers.Dense(num_labels, name="head", **whole)(pooled)
    return tf.keras.Model(backbone.input, logits, name="network")


def _selection(trainable: str, num_layers: int) -> Any:
    """Returns a function that says, for a weight's name, whether the weight trains."""
    top = re.fullmatch(r"top_(\d+)", trainable)
    if trainable == "all":
        return lambda name: True
    if trainable == "no_embeddings":
        return lambda name: "embedding" not in name.partition("/")[0]
    if trainable == "biases":
        return lambda name: name.startswith(_HEAD) or name.endswith(("/bias", "/beta"))
    if trainable in ("head", "adapter"):
        return lambda name: name.startswith(_HEAD)
    if not top:
        raise UserError(
            f"{setting('trainable', trainable)}: must be one of {', '.join(TRAINABLE)} (for "
            "example top_2)"
        )
    count = int(top[1])
    if not 1 <= count <= num_layers:
        raise UserError(f"{setting('trainable', trainable)}: the encoder has {num_layers} layers")
    parts = {"pooled_dense", "head"}
    parts |= {f"transformer_layer_{index}" for index in range(num_layers - count, num_layers)}
    return lambda name: name.partition("/")[0] in parts
