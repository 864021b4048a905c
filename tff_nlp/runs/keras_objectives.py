"""The loss and the metrics of a task for plain Keras `fit`.

They do not use the code of the tasks, so that central and federated training check each other.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

# The target of a position where there is nothing to predict.
_NOTHING = -1


@dataclasses.dataclass(frozen=True)
class Objective:
    """What plain Keras `fit` minimizes and measures.

    Attributes:
      batch: Function from a client's batch to inputs and targets for Keras.
      loss: The loss, for `compile`.
      metrics: The metrics, for `compile`.
      read: Function from the metrics that Keras measured, by name, to the loss and the task's
        metrics.
    """

    batch: Callable[[Mapping[str, tf.Tensor]], tuple[Any, Any]]
    loss: Any
    metrics: Sequence[Any]
    read: Callable[[Mapping[str, float]], dict[str, float]]


def labels() -> Objective:
    """Returns the objective of a classifier."""
    return Objective(
        batch=lambda batch: (batch["x"], batch["y"]),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        read=dict,
    )


def next_tokens(pad_id: int) -> Objective:
    """Returns the objective of a language model.

    Args:
      pad_id: Id of the padding.
    """

    def shifted(batch: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        targets = batch["x"][:, 1:]
        return batch["x"][:, :-1], tf.where(tf.equal(targets, pad_id), _NOTHING, targets)

    return Objective(
        batch=shifted,
        loss=_mean_loss,
        metrics=[_TokenMean(_token_losses, "token_loss"), _TokenMean(_right, "accuracy")],
        read=_language_metrics,
    )


def _language_metrics(measured: Mapping[str, float]) -> dict[str, float]:
    # Keras takes the mean of the batches' losses, but batches have different numbers of tokens.
    loss = measured["token_loss"]
    # A loss that is NaN gives infinity, too.
    perplexity = math.exp(loss) if loss < 700 else math.inf
    return {"loss": loss, "perplexity": perplexity, "accuracy": measured["accuracy"]}


class _TokenMean(tf.keras.metrics.Mean):
    """The mean of a measure over all tokens to predict."""

    def __init__(self, measure: Callable[..., tf.Tensor], name: str) -> None:
        super().__init__(name=name)
        self._measure = measure

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Adds a batch.

        Args:
          y_true: int32[batch, length], the next tokens.
          y_pred: float32[batch, length, vocabulary], logits.
          sample_weight: Not used.
        """
        return super().update_state(self._measure(y_true, y_pred), _is_token(y_true))


def _is_token(targets: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.not_equal(targets, _NOTHING), tf.float32)


def _token_losses(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    labels = tf.maximum(tf.cast(targets, tf.int32), 0)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def _right(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    best = tf.argmax(logits, axis=-1, output_type=tf.int32)
    return tf.cast(tf.equal(best, tf.cast(targets, tf.int32)), tf.float32)


def _mean_loss(targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Returns the mean loss of a batch's tokens."""
    counted = _is_token(targets)
    total = tf.reduce_sum(counted * _token_losses(targets, logits))
    return tf.math.divide_no_nan(total, tf.reduce_sum(counted))
