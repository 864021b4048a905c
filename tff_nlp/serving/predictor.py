"""Labels texts, or pairs of texts, with a saved model."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp.models import many_texts
from tff_nlp.models.token_counts import TokenCounts
from tff_nlp.models.vocabulary import as_bytes
from tff_nlp.serving import saved_models


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions of a model for some texts.

    Attributes:
      labels: Most probable label of each text.
      probabilities: Probability of each label for each text, float32[texts, labels].
    """

    labels: tuple[str, ...]
    probabilities: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Predictor:
    """A loaded classifier.

    Attributes:
      label_names: Names of the labels, in the order of the probabilities.
      max_tokens: Maximum number of tokens, including [CLS] and [SEP]. Longer texts are cut.
      reads_pairs: Whether the model labels pairs of texts.
    """

    label_names: tuple[str, ...]
    max_tokens: int
    reads_pairs: bool
    _model: Any = dataclasses.field(repr=False)

    def predict(
        self,
        texts: many_texts.Texts,
        *,
        batch_size: int = 64,
        done: Callable[[int], object] | None = None,
    ) -> Predictions:
        """Labels texts.

        Args:
          texts: The texts. If the model reads pairs, tuples of a first and a second text.
          batch_size: Number of texts at a time.
          done: Function that is called after each batch with its number of texts.

        Raises:
          TypeError: If `texts` is one string, if it holds pairs but the model reads single texts,
            or if it holds single texts but the model reads pairs.
        """
        probabilities = np.zeros([len(texts), len(self.label_names)], np.float32)
        for rows, batch in self._batches(texts, batch_size):
            outputs = self._model.signatures["serving_default"](**batch)
            probabilities[rows] = outputs["probabilities"].numpy()
            if done is not None:
                done(len(rows))
        labels = tuple(self.label_names[index] for index in probabilities.argmax(axis=1))
        return Predictions(labels, probabilities)

    def count_tokens(self, texts: many_texts.Texts, *, batch_size: int = 4096) -> TokenCounts:
        """Returns how many tokens of the texts the model reads.

        The arguments and errors are those of `predict`.
        """
        counts = (
            self._model.signatures["count_tokens"](**batch)
            for _, batch in self._batches(texts, batch_size)
        )
        return total(len(texts), counts)

    def _batches(
        self, texts: many_texts.Texts, size: int
    ) -> Iterator[tuple[np.ndarray, dict[str, tf.Tensor]]]:
        """Yields int64[batch] positions and string[batch] inputs, with similar lengths together."""
        columns = many_texts.columns(texts, pairs=self.reads_pairs)
        for rows in by_length(columns, size):
            yield (
                rows,
                {
                    name: tf.constant(as_bytes(column[row] for row in rows), tf.string)
                    for name, column in zip(saved_models.TEXT_INPUTS, columns, strict=False)
                },
            )


def by_length(columns: Sequence[Sequence[str]], size: int) -> Iterator[np.ndarray]:
    """Yields the positions of batches, int64[batch]. Similar lengths together have less padding.

    Args:
      columns: The texts, or the first texts and the second texts of pairs.
      size: Number of texts in a batch.
    """
    order = np.argsort([sum(map(len, row)) for row in zip(*columns, strict=True)], kind="stable")
    for start in range(0, len(order), size):
        yield order[start : start + size]


def total(texts: int, batches: Iterable[Mapping[str, tf.Tensor]]) -> TokenCounts:
    """Returns the sums of token counts.

    Args:
      texts: Number of texts.
      batches: Results of `text_tokens.count`.
    """
    sums = np.zeros(4, np.int64)
    for batch in batches:
        tokens, read, unknown = (batch[name].numpy() for name in ("tokens", "read", "unknown"))
        sums += [(read < tokens).sum(), tokens.sum(), (tokens - read).sum(), unknown.sum()]
    cut, tokens, dropped, unknown = map(int, sums)
    return TokenCounts(
        texts=texts,
        texts_cut=cut,
        tokens=tokens,
        tokens_dropped=dropped,
        tokens_unknown=unknown,
    )


def load(folder: str | pathlib.Path, *, flag: str = "model") -> Predictor:
    """Loads a classifier that `export.export` wrote.

    Args:
      folder: Folder of the exported model.
      flag: Flag that named the folder, for messages.

    Raises:
      UserError: If the folder is missing or damaged, if it holds another kind of model, or if the
        model has changed since its run.
    """
    signatures = {"serving_default", "count_tokens", "label_names"}
    model = saved_models.load(pathlib.Path(folder), flag, "text classifier", signatures)
    names = model.signatures["label_names"]()["label_names"].numpy()
    count_tokens = model.signatures["count_tokens"]
    inputs = count_tokens.structured_input_signature[1]
    counted = count_tokens(**{name: tf.constant([], tf.string) for name in inputs})
    return Predictor(
        label_names=tuple(name.decode("utf-8") for name in names),
        max_tokens=int(counted["max_tokens"]),
        reads_pairs=len(inputs) == 2,
        _model=model,
    )
