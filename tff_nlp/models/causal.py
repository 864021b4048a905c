"""A causal language model: a decoder, its tied output table, and the choice of trained weights."""

import dataclasses
import functools
import re
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tff_nlp.errors import UserError, setting, verbatim
from tff_nlp.models import functional, trained_weights
from tff_nlp.models.adapters.adapter import Adapter, Attached, attach
from tff_nlp.models.adapters.lora import Factors
from tff_nlp.models.byte_pairs import BytePairTokenizer
from tff_nlp.models.decoders import Decoder

TRAINABLE = ("all", "no_embeddings", "top_K", "biases", "adapter")

# Backbones that belong to a model. Two models with one backbone would change each other's weights.
_taken: "weakref.WeakSet[Any]" = weakref.WeakSet()


@dataclasses.dataclass(frozen=True, eq=False)
class CausalModel(functional.WeightsAsValues):
    """A causal language model. Its weights are passed as values.

    Attributes:
      tokenizer: Tokenizer of the model.
      max_tokens: Maximum number of tokens that the decoder can read.
      trainable_names: Unique names of the trainable weights.
      frozen_names: Unique names of the frozen weights.
      token_embedding: None, because no table is read only by gathering. The token embedding is
        tied: it also computes the logits. So its gradient is dense, and a client needs all rows,
        not only those of its own tokens.
      factors: The low-rank factors that train.
    """

    tokenizer: BytePairTokenizer
    max_tokens: int
    trainable_names: tuple[str, ...]
    frozen_names: tuple[str, ...]
    token_embedding: None = dataclasses.field(default=None, init=False)
    factors: tuple[Factors, ...]
    _network: tf.keras.Model = dataclasses.field(repr=False)
    _cached: "CachedNetwork" = dataclasses.field(repr=False)
    _weights: tuple[functional.Weight, ...] = dataclasses.field(repr=False)
    _attached: Attached = dataclasses.field(repr=False)
    _fixed: tuple[functional.Fixed, ...] = dataclasses.field(default=(), repr=False)

    @functools.cached_property
    def keras_model(self) -> tf.keras.Model:
        """The Keras model: padded token ids int32[batch, length] -> logits.

        The logits are float32[batch, length, vocabulary]. The model is built at its first use,
        which must be outside of graphs. It is not compiled. Its trainable weights have the order of
        `trainable_names`.

        Raises:
          TypeError: If the model is the result of `folding.fold`.
        """
        if self._fixed:
            raise TypeError("a model with folded factors has no Keras model")
        token_ids = tf.keras.Input([None], dtype=tf.int32, name="token_ids")
        inputs = PaddedInputs(self.tokenizer.pad_id, name="padded_inputs")(token_ids)
        return tf.keras.Model(token_ids, self._network(inputs), name="causal_model")

    @property
    def vocabulary_size(self) -> int:
        """Number of logits per position."""
        return int(self._network.output_shape[-1])

    def logits(
        self,
        trainable: Sequence[Any],
        frozen: Sequence[Any],
        token_ids: Any,
        padding_mask: Any,
        *,
        seed: Any | None,
    ) -> tf.Tensor:
        """Computes logits as a pure function. No variable is created or read.

        Args:
          trainable: Tensors in the order of `trainable_names`.
          frozen: Tensors in the order of `frozen_names`.
          token_ids: int32[batch, length]. The ids at padding are ignored.
          padding_mask: bool[batch, length], true for real tokens, which come first in each row.
          seed: Seed of the dropout masks, int32[2]. None for inference without dropout.

        Returns:
          float32[batch, length, vocabulary]: at each position, the logits of the next token.
        """
        inputs = _inputs(tf.convert_to_tensor(token_ids), tf.convert_to_tensor(padding_mask))
        values = (*trainable, *frozen)
        found = functional.call(
            self._network, self._weights, values, inputs, seed=seed, fixed=self._fixed
        )
        return tf.cast(found, tf.float32)

    def empty_cache(self, batch: Any, length: Any) -> tf.Tensor:
        """Returns an empty cache for texts of up to `length` tokens, see `logits_with_cache`."""
        return self._cached.empty_cache(batch, length)

    def logits_with_cache(
        self,
        trainable: Sequence[Any],
        frozen: Sequence[Any],
        token_ids: Any,
        cache: tf.Tensor,
        place: Any,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Reads more tokens of texts. A cache holds the keys and values of the tokens before them.

        Args:
          trainable: Tensors in the order of `trainable_names`.
          frozen: Tensors in the order of `frozen_names`.
          token_ids: int32[batch, tokens], the tokens from position `place` on.
          cache: Keys and values of all layers, [batch, layers, 2, length, heads, head size].
          place: int32[], the position of the first of these tokens in its text.

        Returns:
          The logits, float32[batch, tokens, vocabulary], and the new cache.
        """
        values = (*trainable, *frozen)
        inputs = (token_ids, cache, place)
        found, cache = functional.call(
            self._cached, self._weights, values, inputs, seed=None, fixed=self._fixed
        )
        return tf.cast(found, tf.float32), cache


def build(
    decoder: Decoder, *, trainable: str = "all", adapter: Adapter | None = None, seed: int = 0
) -> CausalModel:
    """Builds a causal language model from a decoder.

    The decoder's backbone becomes part of the model, so another model needs another decoder. The
    token table computes the logits, so there is no separate head.

    Args:
      decoder: The decoder.
      trainable: Which weights train. "all"; "no_embeddings" (all except the token and position
        tables); "top_K", for example top_2 (the last K transformer layers and the last layer norm);
        "biases" (every bias and layer norm offset: BitFit, Ben Zaken et al. 2022, section 3); or
        "adapter" (only the adapter). An adapter always trains.
      adapter: The adapter in the decoder; None for none.
      seed: Seed of the run, for the adapter's initial weights.

    Raises:
      UserError: If `trainable` is not possible, or if the decoder has no such weights.
      ValueError: If the decoder already belongs to another model.
    """
    backbone = decoder.backbone
    adapter = adapter or Adapter()
    trained_weights.check(trainable, adapter.kind)
    trained_weights.check_decoder(trainable, adapter.kind)
    trains = _selection(trainable, backbone)
    if backbone in _taken:
        raise ValueError("this decoder belongs to another model already: load it once more")
    _taken.add(backbone)
    outputs = backbone.token_embedding(backbone.output, reverse=True)
    network = tf.keras.Model(backbone.input, outputs, name="network")
    attached = attach(backbone, adapter, seed)
    chosen, rest = functional.divide(network, trains, attached.trains, attached.stays)
    if not chosen:
        raise UserError(
            f"{setting('trainable', trainable)}: {verbatim(decoder.name)} has no such weights"
        )
    return CausalModel(
        tokenizer=decoder.tokenizer,
        max_tokens=backbone.max_sequence_length,
        trainable_names=tuple(weight.name for weight in chosen),
        frozen_names=tuple(weight.name for weight in rest),
        factors=attached.factors(chosen, rest),
        _network=network,
        _cached=CachedNetwork(decoder, name="cached_network"),
        _weights=(*chosen, *rest),
        _attached=attached,
    )


class PaddedInputs(tf.keras.layers.Layer):
    """Computes the network's inputs from int32[batch, length] token ids, padded with `pad_id`."""

    def __init__(self, pad_id: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._pad_id = pad_id

    def call(self, token_ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the inputs of the network."""
        return _inputs(token_ids, tf.not_equal(token_ids, self._pad_id))


def _inputs(token_ids: tf.Tensor, padding_mask: tf.Tensor) -> dict[str, tf.Tensor]:
    return {
        # The id of padding may have no row in the table.
        "token_ids": tf.where(padding_mask, token_ids, 0),
        "padding_mask": tf.cast(padding_mask, tf.int32),
    }


class CachedNetwork(tf.keras.Model):
    """Applies a decoder's layers to new tokens, given the cached keys and values of earlier ones.

    Args:
      decoder: The decoder.
      **kwargs: Arguments of `tf.keras.Model`.
    """

    def __init__(self, decoder: Decoder, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._decoder = decoder
        self._backbone = decoder.backbone

    def empty_cache(self, batch: Any, length: Any) -> tf.Tensor:
        """Returns zeros, [batch, layers, 2, length, heads, head size]."""
        shape = [batch, self._backbone.num_layers, 2, length, *self._decoder.cached_heads]
        return tf.zeros(shape, self._backbone.compute_dtype)

    def call(
        self, inputs: tuple[tf.Tensor, tf.Tensor, tf.Tensor], training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns logits [batch, tokens, vocabulary] and the new cache.

        Args:
          inputs: Token ids int32[batch, tokens], the cache, and the position of the first token.
          training: Not used, because there is no dropout.
        """
        token_ids, cache, place = inputs
        layers = self._backbone
        outputs = self._decoder.embed(token_ids, place)
        caches = []
        for index, layer in enumerate(layers.transformer_layers):
            outputs, layer_cache = layer(
                outputs,
                self_attention_cache=cache[:, index],
                self_attention_cache_update_index=place,
            )
            caches.append(layer_cache)
        outputs = layers.layer_norm(outputs)
        return layers.token_embedding(outputs, reverse=True), tf.stack(caches, axis=1)


def _selection(trainable: str, backbone: Any) -> Callable[[str], bool]:
    """Returns a function that says, for a weight's name, whether the weight trains."""
    top = re.fullmatch(r"top_(\d+)", trainable)
    if trainable == "all":
        return lambda name: True
    if trainable == "no_embeddings":
        return lambda name: "embedding" not in name.partition("/")[0]
    if trainable == "biases":
        return lambda name: name.endswith(("/bias", "/beta"))
    if trainable == "adapter":
        return lambda name: False
    if not top:
        raise UserError(
            f"{setting('trainable', trainable)}: must be one of {', '.join(TRAINABLE)} (for "
            "example top_2)"
        )
    count = int(top[1])
    layers = backbone.transformer_layers
    if not 1 <= count <= len(layers):
        raise UserError(f"{setting('trainable', trainable)}: the decoder has {len(layers)} layers")
    parts = {layer.name for layer in (*layers[-count:], backbone.layer_norm)}
    return lambda name: name.partition("/")[0] in parts
