"""Labels texts with a model that reads tokens: the tokenizer is not part of its graph."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp.models import many_texts
from tff_nlp.models.token_counts import TokenCounts
from tff_nlp.models.vocabulary import as_bytes
from tff_nlp.serving import exported_folder, predictor, text_tokens

# Function from token ids, attention mask and segment ids (None for single texts), all
# int32[batch, length], to float32[batch, labels].
Logits = Callable[[np.ndarray, np.ndarray, np.ndarray | None], np.ndarray]


class TokenPredictor:
    """A loaded classifier. It has the interface of `predictor.Predictor`.

    Attributes:
      label_names: Names of the labels, in the order of the probabilities.
      max_tokens: Maximum number of tokens, including [CLS] and [SEP]. Longer texts are cut.
      reads_pairs: Whether the model labels pairs of texts.
    """

    def __init__(self, exported: exported_folder.Exported, logits: Logits) -> None:
        """Initializes the classifier.

        Args:
          exported: What its folder says.
          logits: Function that computes the logits. Several threads may call it at the same time.
        """
        self.label_names = exported.label_names
        self.max_tokens = exported.max_tokens
        self.reads_pairs = exported.reads_pairs
        self._tokenizer = exported.tokenizer
        self._logits = logits
        self._fixed = (exported.tokenizer, exported.max_tokens, exported.strip_prefix)
        # A traced function tokenizes a short text several times faster than single operations.
        self._encode = self._traced(text_tokens.encode)

    def predict(
        self,
        texts: many_texts.Texts,
        *,
        batch_size: int = 64,
        done: Callable[[int], object] | None = None,
    ) -> predictor.Predictions:
        """Labels texts, see `predictor.Predictor.predict`."""
        logits = np.zeros([len(texts), len(self.label_names)], np.float32)
        for rows, batch in self._batches(texts, batch_size):
            logits[rows] = self._of_batch(batch)
            if done is not None:
                done(len(rows))
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = shares / shares.sum(axis=1, keepdims=True)
        labels = tuple(self.label_names[index] for index in probabilities.argmax(axis=1))
        return predictor.Predictions(labels, probabilities)

    def count_tokens(self, texts: many_texts.Texts, *, batch_size: int = 4096) -> TokenCounts:
        """Returns how many tokens of the texts the model reads, as `predict` takes them."""
        return predictor.total(
            len(texts), (self._count(*batch) for _, batch in self._batches(texts, batch_size))
        )

    @functools.cached_property
    def _count(self) -> Callable[..., Any]:
        return self._traced(text_tokens.count)

    def _traced(self, read: Callable[..., Any]) -> Callable[..., Any]:
        """Returns a function of `text_tokens` as a graph from string[batch], or two for pairs."""
        specs = [tf.TensorSpec([None], tf.string)] * (2 if self.reads_pairs else 1)
        return tf.function(lambda *texts: read(*self._fixed, *texts)).get_concrete_function(*specs)

    def _of_batch(self, batch: list[tf.Tensor]) -> np.ndarray:
        tokens = self._encode(*batch)
        ids = tokens.to_tensor(self._tokenizer.pad_id)
        mask = tf.sequence_mask(tokens.row_lengths(), dtype=tf.int32)
        segments = self._tokenizer.segment_ids(ids).numpy() if self.reads_pairs else None
        return self._logits(ids.numpy(), mask.numpy(), segments)

    def _batches(
        self, texts: many_texts.Texts, size: int
    ) -> Iterator[tuple[np.ndarray, list[tf.Tensor]]]:
        """Yields int64[batch] positions and string[batch] columns, similar lengths together."""
        columns = many_texts.columns(texts, pairs=self.reads_pairs)
        for rows in predictor.by_length(columns, size):
            yield (
                rows,
                [
                    tf.constant(as_bytes(column[row] for row in rows), tf.string)
                    for column in columns
                ],
            )
