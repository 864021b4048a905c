"""A classifier as the server of a federation knows it, for an attack on updates."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp import errors
from tff_nlp.models.classifier import Classifier
from tff_nlp.models.vocabulary import JOINER

_LAYER = "transformer_layer_{}/self_attention_layer/"
_READERS = tuple(f"{name}/" for name in ("query", "key", "value"))
# What makes the first layer's inputs.
_EMBEDDING = (
    "token_embedding/embeddings",
    "position_embedding/position_embeddings",
    "segment_embedding/embeddings",
    "embeddings_layer_norm/gamma",
    "embeddings_layer_norm/beta",
)
_TEXTS_AT_ONCE = 256


class KnownModel:
    """The model of a round, with the interface of `dager.Reader`.

    Attributes:
      first_token: See `dager.Reader`.
      last_token: See there.
      most_tokens: See there.
      all_tokens: Ids of all tokens.
    """

    def __init__(self, model: Classifier, weights: Any, most_tokens: int) -> None:
        """Initializes the model.

        Args:
          model: The classifier.
          weights: Its weights before the round.
          most_tokens: Maximum number of tokens of a text.

        Raises:
          UserError: If its first layer is not that of BERT.
        """
        self._model, self._trained = model, model.trainable_names
        names = (*model.trainable_names, *model.frozen_names)
        values = (*weights.trainable, *weights.non_trainable)
        self._values = dict(zip(names, values, strict=True))
        if not self._values.keys() >= set(_EMBEDDING):
            raise errors.UserError("`run`: the attack needs an encoder that begins as BERT does")
        self.first_token, self.last_token = model.tokenizer.cls_id, model.tokenizer.sep_id
        self.most_tokens = most_tokens
        self.all_tokens = np.arange(len(model.tokenizer.vocabulary))

        @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
        def second_inputs(token_ids: tf.Tensor) -> tf.Tensor:
            return model.layer_inputs(1, weights.trainable, weights.non_trainable, token_ids)

        self._second_inputs = second_inputs

    def first_inputs(self, tokens: np.ndarray, position: int) -> np.ndarray:
        """See `dager.Reader`."""
        table, places, segments, norm, shift = (self._values[n].numpy() for n in _EMBEDDING)
        sums = table[tokens] + places[position] + segments[0]
        centred = sums - sums.mean(axis=1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-12)
        return centred / deviation * norm + shift

    def second_inputs(self, texts: np.ndarray) -> np.ndarray:
        """See `dager.Reader`."""
        parts = [
            self._second_inputs(texts[start : start + _TEXTS_AT_ONCE].astype(np.int32)).numpy()
            for start in range(0, len(texts), _TEXTS_AT_ONCE)
        ]
        return np.concatenate(parts)

    def readers_of_layer(self, update: Sequence[np.ndarray], layer: int) -> np.ndarray:
        """Returns the changes of all trained matrices that multiply a layer's inputs.

        Args:
          update: The update, in the order of the trainable weights.
          layer: Number of the layer.

        Returns:
          The matrices side by side, float[width, columns]; without columns if none trained.
        """
        width = self._values[_EMBEDDING[-1]].shape[0]
        place = _LAYER.format(layer)
        found = [
            change.reshape(width, -1)
            for name, change in zip(self._trained, update, strict=True)
            if name.startswith(tuple(place + reader for reader in _READERS))
            and name.endswith(("/kernel", "/lora_a"))
        ]
        return np.concatenate(found, axis=1) if found else np.zeros((width, 0))

    def revealed_tokens(self, update: Sequence[np.ndarray]) -> np.ndarray | None:
        """Returns the tokens whose embeddings changed, ascending; None if the table did not train.

        Only the tokens of a client's texts change without noise, whatever its optimizer is.
        """
        place = self._model.token_embedding
        if place is None:
            return None
        return np.flatnonzero(np.any(update[place], axis=1))

    def words(self, tokens: Sequence[int]) -> list[str]:
        """Returns the words of a text, without the tokens at its ends."""
        words: list[str] = []
        for token in tokens[1:-1]:
            piece = self._model.tokenizer.vocabulary[token]
            if piece.startswith(JOINER) and words:
                words[-1] += piece[len(JOINER) :]
            else:
                words.append(piece)
        return words
