"""A causal language model: a decoder, the table that gives its logits, and which of it trains."""

import dataclasses
import functools
import re
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tff_nlp.errors import UserError
from tff_nlp.models import functional
from tff_nlp.models.byte_pairs import BytePairTokenizer
from tff_nlp.models.decoders import Decoder

TRAINABLE = ("all", "no_embeddings", "top_K", "biases")

# Backbones that belong to a model. Two models on one backbone would change each other.
_taken: "weakref.WeakSet[Any]" = weakref.WeakSet()


@dataclasses.dataclass(frozen=True, eq=False)
class CausalModel(functional.WeightsAsValues):
    """A causal language model; its weights are values.

    Attributes:
      tokenizer: Gives the token ids.
      max_tokens: The longest input the decoder can read.
      trainable_names: Unique names of the weights that train.
      frozen_names: Unique names of the weights that are used but do not train.
      token_embedding: None: no table is read by gathering alone. The token embedding also gives
        the logits (it is tied), so its gradient has a value in every row, and a client cannot do
        with the rows of its own tokens.
    """

    tokenizer: BytePairTokenizer
    max_tokens: int
    trainable_names: tuple[str, ...]
    frozen_names: tuple[str, ...]
    token_embedding: None = dataclasses.field(default=None, init=False)
    _network: tf.keras.Model = dataclasses.field(repr=False)
    _cached: "CachedNetwork" = dataclasses.field(repr=False)
    _weights: tuple[functional.Weight, ...] = dataclasses.field(repr=False)

    @functools.cached_property
    def keras_model(self) -> tf.keras.Model:
        """The model for Keras: padded token ids int32[batch, length] -> logits.

        Built at first use (ask for it outside of graphs), not compiled; the logits are
        float32[batch, length, vocabulary]. Its trainable weights are those that train, in the
        order of the names.
        """
        token_ids = tf.keras.Input([None], dtype=tf.int32, name="token_ids")
        inputs = PaddedInputs(self.tokenizer.pad_id, name="padded_inputs")(token_ids)
        return tf.keras.Model(token_ids, self._network(inputs), name="causal_model")

    @property
    def vocabulary_size(self) -> int:
        """The number of tokens that a logit is given for."""
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
        """The model as a pure function: no variable is created or read.

        Args:
          trainable: Tensors in the order of `trainable_names`.
          frozen: Tensors in the order of `frozen_names`.
          token_ids: int32[batch, length]; what stands at padding does not matter.
          padding_mask: bool[batch, length], true for real tokens, which come first in each row.
          seed: int32[2] that decides the dropout, or None for inference, without dropout.

        Returns:
          float32[batch, length, vocabulary]: at each place the logits of the next token.
        """
        inputs = _inputs(tf.convert_to_tensor(token_ids), tf.convert_to_tensor(padding_mask))
        values = (*trainable, *frozen)
        found = functional.call(self._network, self._weights, values, inputs, seed=seed)
        return tf.cast(found, tf.float32)

    def empty_cache(self, batch: Any, length: Any) -> tf.Tensor:
        """Returns a cache for texts of up to `length` tokens, see `logits_with_cache`."""
        return self._cached.empty_cache(batch, length)

    def logits_with_cache(
        self,
        trainable: Sequence[Any],
        frozen: Sequence[Any],
        token_ids: Any,
        cache: tf.Tensor,
        place: Any,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Reads some more tokens of texts, with the keys and values so far in a cache.

        Args:
          trainable: Tensors in the order of `trainable_names`.
          frozen: Tensors in the order of `frozen_names`.
          token_ids: int32[batch, tokens], the tokens from `place` on.
          cache: Keys and values of all layers, [batch, layers, 2, length, heads, head size].
          place: int32[], the place of the first of these tokens in its text.

        Returns:
          float32[batch, tokens, vocabulary] and the new cache.
        """
        values = (*trainable, *frozen)
        inputs = (token_ids, cache, place)
        found, cache = functional.call(self._cached, self._weights, values, inputs, seed=None)
        return tf.cast(found, tf.float32), cache


def build(decoder: Decoder, *, trainable: str = "all") -> CausalModel:
    """Builds a causal language model on a decoder, which it takes over.

    The decoder's backbone becomes part of the model, so another model needs another decoder.

    Args:
      decoder: The decoder.
      trainable: What trains: "all"; "no_embeddings" (all but the tables of tokens and positions);
        "top_K", for example top_2 (the last K transformer layers and the last layer norm);
        "biases" (every bias and layer norm offset: BitFit, Ben Zaken et al. 2022). There is no
        head of its own: the token table gives the logits.

    Raises:
      UserError: If `trainable` is not possible.
      ValueError: If the decoder belongs to another model.
    """
    backbone = decoder.backbone
    trains = _selection(trainable, backbone.num_layers)
    if backbone in _taken:
        raise ValueError("this decoder belongs to another model already: load it once more")
    _taken.add(backbone)
    outputs = backbone.token_embedding(backbone.output, reverse=True)
    network = tf.keras.Model(backbone.input, outputs, name="network")
    weights = functional.weights_of(network)
    chosen = [weight for weight in weights if trains(weight.name)]
    rest = [weight for weight in weights if not trains(weight.name)]
    functional.set_trainable(chosen, rest)
    return CausalModel(
        tokenizer=decoder.tokenizer,
        max_tokens=backbone.max_sequence_length,
        trainable_names=tuple(weight.name for weight in chosen),
        frozen_names=tuple(weight.name for weight in rest),
        _network=network,
        _cached=CachedNetwork(backbone, name="cached_network"),
        _weights=(*chosen, *rest),
    )


class PaddedInputs(tf.keras.layers.Layer):
    """Makes the network's inputs of int32[batch, length] token ids padded with `pad_id`."""

    def __init__(self, pad_id: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._pad_id = pad_id

    def call(self, token_ids: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the inputs of the network."""
        return _inputs(token_ids, tf.not_equal(token_ids, self._pad_id))


def _inputs(token_ids: tf.Tensor, padding_mask: tf.Tensor) -> dict[str, tf.Tensor]:
    return {
        # The id of padding is no token and may have no row in the table.
        "token_ids": tf.where(padding_mask, token_ids, 0),
        "padding_mask": tf.cast(padding_mask, tf.int32),
    }


class CachedNetwork(tf.keras.Model):
    """Applies a backbone's layers to the next tokens, given the keys and values of those before.

    Args:
      backbone: A `keras_nlp.models.GPT2Backbone`.
      **kwargs: What any Keras model takes.
    """

    def __init__(self, backbone: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._backbone = backbone

    def empty_cache(self, batch: Any, length: Any) -> tf.Tensor:
        """Returns zeros, [batch, layers, 2, length, heads, head size]."""
        heads = self._backbone.num_heads
        shape = [batch, self._backbone.num_layers, 2, length]
        size = self._backbone.hidden_dim // heads
        return tf.zeros([*shape, heads, size], self._backbone.compute_dtype)

    def call(
        self, inputs: tuple[tf.Tensor, tf.Tensor, tf.Tensor], training: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns logits [batch, tokens, vocabulary] and the new cache.

        Args:
          inputs: Token ids int32[batch, tokens], the cache, and the place of the first token.
          training: Not used: there is no dropout.
        """
        token_ids, cache, place = inputs
        layers = self._backbone
        tokens = layers.token_embedding(token_ids)
        outputs = tokens + layers.position_embedding(tokens, start_index=place)
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


def _selection(trainable: str, num_layers: int) -> Callable[[str], bool]:
    """Returns a function from a weight's name to whether it trains."""
    top = re.fullmatch(r"top_(\d+)", trainable)
    if trainable == "all":
        return lambda name: True
    if trainable == "no_embeddings":
        return lambda name: "embedding" not in name.partition("/")[0]
    if trainable == "biases":
        return lambda name: name.endswith(("/bias", "/beta"))
    if not top:
        raise UserError(
            f"--trainable={trainable}: must be one of {', '.join(TRAINABLE)} (for example top_2)"
        )
    count = int(top[1])
    if not 1 <= count <= num_layers:
        raise UserError(f"--trainable={trainable}: the decoder has {num_layers} layers")
    parts = {"layer_norm"}
    parts |= {f"transformer_layer_{index}" for index in range(num_layers - count, num_layers)}
    return lambda name: name.partition("/")[0] in parts
