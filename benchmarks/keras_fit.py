"""The reference: Keras's `fit` on the same model and batches, without federation."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import examples, models, shapes
from benchmarks.task import Report, Task


def run(task: Task, report: Report) -> None:
    """Runs `fit` with one epoch per round. The work before the first epoch is not measured."""
    batches = examples.draw(task.shape, task.token_ids).batches()
    fit(models.build_keras_model(task.shape.size), batches, task.rounds, report)


def fit(
    model: tf.keras.Model, batches: Sequence[examples.Batch], epochs: int, report: Report
) -> None:
    """Compiles a model and fits it to batches, in their order.

    Args:
      model: Model from token ids to logits.
      batches: Batches of one epoch.
      epochs: Number of passes over the batches.
      report: Function that is called with the seconds of each epoch.
    """
    model.compile(
        # XLA is off for the model. On a GPU, Keras would turn it on for the optimizer.
        optimizer=tf.keras.optimizers.SGD(shapes.LEARNING_RATE, jit_compile=False),
        loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    model.fit(_dataset(batches), epochs=epochs, verbose=0, callbacks=[_Timer(report)])


def _dataset(batches: Sequence[examples.Batch]) -> tf.data.Dataset:
    size = len(batches[0][0])
    if all(len(tokens) == size for tokens, _ in batches):
        flat = tuple(np.concatenate(part) for part in zip(*batches, strict=True))
        dataset = tf.data.Dataset.from_tensor_slices(flat).batch(size)
    else:
        dataset = tf.data.Dataset.from_generator(
            lambda: iter(batches),
            output_signature=(
                tf.TensorSpec([None, shapes.LENGTH], tf.int32),
                tf.TensorSpec([None], tf.int32),
            ),
        )
    options = tf.data.Options()
    # Autotuning delays the end of every epoch by seconds.
    options.autotune.enabled = False
    return dataset.with_options(options)


class _Timer(tf.keras.callbacks.Callback):
    """Reports how long each epoch takes."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self._report = report

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._report(time.perf_counter() - self._began)
