"""Labels texts with a saved model."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp.models.token_counts import TokenCounts
from tff_nlp.models.vocabulary import as_bytes
from tff_nlp.serving import saved_models


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """What a model says about some texts.

    Attributes:
      labels: The most probable label of each text.
      probabilities: float32[texts, labels].
    """

    labels: tuple[str, ...]
    probabilities: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Predictor:
    """A loaded model.

    Attributes:
      label_names: Names of the labels, in the order of the probabilities.
      max_tokens: Texts are cut to this many tokens, [CLS] and [SEP] included.
    """

    label_names: tuple[str, ...]
    max_tokens: int
    _model: Any = dataclasses.field(repr=False)

    def predict(
        self,
        texts: Sequence[str],
        *,
        batch_size: int = 64,
        done: Callable[[int], object] | None = None,
    ) -> Predictions:
        """Labels texts.

        Args:
          texts: The texts.
          batch_size: Texts at a time.
          done: Is called after each batch with its number of texts.

        Raises:
          TypeError: If the texts are one string.
        """
        probabilities = np.zeros([len(texts), len(self.label_names)], np.float32)
        for rows, batch in _batches(texts, batch_size):
            outputs = self._model.signatures["serving_default"](texts=batch)
            probabilities[rows] = outputs["probabilities"].numpy()
            if done is not None:
                done(len(rows))
        labels = tuple(self.label_names[index] for index in probabilities.argmax(axis=1))
        return Predictions(labels, probabilities)

    def count_tokens(self, texts: Sequence[str], *, batch_size: int = 4096) -> TokenCounts:
        """Returns how much of the texts the model reads."""
        counts = np.zeros([len(texts), 3], np.int64)
        for rows, batch in _batches(texts, batch_size):
            outputs = self._model.signatures["count_tokens"](texts=batch)
            counts[rows] = np.stack(
                [outputs[name].numpy() for name in ("tokens", "read", "unknown")], axis=1
            )
        tokens, read, unknown = counts.T
        return TokenCounts(
            texts=len(texts),
            texts_cut=int((read < tokens).sum()),
            tokens=int(tokens.sum()),
            tokens_dropped=int((tokens - read).sum()),
            tokens_unknown=int(unknown.sum()),
        )


def _batches(texts: Sequence[str], size: int) -> Iterator[tuple[np.ndarray, tf.Tensor]]:
    """Yields int64[batch] positions and string[batch] texts, like lengths together."""
    if isinstance(texts, str):
        raise TypeError("texts must be a sequence of strings, not one string")
    # Batches of like lengths hold less padding.
    order = np.argsort([len(text) for text in texts], kind="stable")
    for start in range(0, len(texts), size):
        rows = order[start : start + size]
        yield rows, tf.constant(as_bytes(texts[row] for row in rows), tf.string)


def load(folder: str | pathlib.Path, *, flag: str = "--model") -> Predictor:
    """Loads what `export` wrote.

    Args:
      folder: The exported model.
      flag: What an error message starts with.

    Raises:
      UserError: If the folder is missing, damaged, holds another kind of model, or one that is no
        longer what its run wrote.
    """
    signatures = {"serving_default", "count_tokens", "label_names"}
    model = saved_models.load(pathlib.Path(folder), flag, "text classifier", signatures)
    names = model.signatures["label_names"]()["label_names"].numpy()
    counted = model.signatures["count_tokens"](texts=tf.constant([], tf.string))
    max_tokens = int(counted["max_tokens"])
    return Predictor(tuple(name.decode("utf-8") for name in names), max_tokens, model)
