"""The loss and the metrics of a task for plain Keras `fit`.

They do not use the code of the tasks, so that central and federated training check each other.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from tff_nlp.runs.configs.task_names import LANGUAGE_MODEL
from tff_nlp.runs.learner import Learner

# The target of a position where there is nothing to predict.
_NOTHING = -1


def batches(learner: Learner) -> Callable[[Mapping[str, tf.Tensor]], tuple[Any, Any]]:
    """Returns the function from a client's batch to inputs and targets for Keras."""
    if learner.task.name != LANGUAGE_MODEL:
        return lambda batch: (batch["x"], batch["y"])
    pad_id = learner.model.tokenizer.pad_id

    def next_tokens(batch: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        targets = batch["x"][:, 1:]
        return batch["x"][:, :-1], tf.where(tf.equal(targets, pad_id), _NOTHING, targets)

    return next_tokens


def loss_and_metrics(learner: Learner) -> tuple[Any, list[Any]]:
    """Returns the loss and the metrics to compile a Keras model with."""
    if learner.task.name != LANGUAGE_MODEL:
        return tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True), ["accuracy"]
    return _mean_loss, [_TokenMean(_token_losses, "token_loss"), _TokenMean(_right, "accuracy")]


def metrics(learner: Learner, measured: Mapping[str, float]) -> dict[str, float]:
    """Returns the loss and the task's metrics.

    Args:
      learner: The model.
      measured: The metrics that Keras measured, by name.
    """
    if learner.task.name != LANGUAGE_MODEL:
        return {name: measured[name] for name in ("loss", *learner.task.metrics)}
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
