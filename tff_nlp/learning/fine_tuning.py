"""Local steps of one client after training."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.learning import client_batches, client_work, local_training
from tff_nlp.learning.transforms import transform as transforms
from tff_nlp.tasks import task as tasks

# (weights, batches, number of steps) -> weights after the steps.
FineTune = Callable[[Any, tf.data.Dataset, int], Any]


def fine_tuner(
    task: tasks.Task, local: client_work.LocalWork, *, round_number: int = 0
) -> FineTune:
    """Returns the function that takes local steps from given weights, one step per batch.

    The steps are those of a client in a round, with the learning rate before the schedule. If a
    loss or a weight overflows, the weights do not change.

    Args:
      task: The task.
      local: How clients train.
      round_number: Number of the round that gives the dropout its seed.

    Returns:
      The function (weights, batches, steps) -> weights. It takes the first batches of the data set,
      as many as there are steps. Weights are `tff.learning.models.ModelWeights`.
    """
    specs, frozen_specs = (list(part) for part in task.weight_specs())

    # The steps of local training are written as loops of TensorFlow already.
    @tf.function(
        input_signature=[
            specs,
            frozen_specs,
            tf.data.DatasetSpec(task.batch_spec),
            tf.TensorSpec([], tf.int64),
        ],
        autograph=False,
    )
    def update(trainable: Any, frozen: Any, dataset: tf.data.Dataset, steps: tf.Tensor) -> Any:
        deltas, _ = local_training.train(
            task,
            local.optimizer,
            tuple(trainable),
            tuple(frozen),
            client_batches.read(task, dataset.take(steps)),
            learning_rate=tf.constant(local.optimizer.learning_rate),
            round_seed=client_work.round_seed(local.seed, tf.constant(round_number)),
            transform=transforms.chain(local.transforms),
        )
        return tuple(w - d for w, d in zip(trainable, deltas, strict=True))

    def fine_tune(weights: Any, dataset: tf.data.Dataset, steps: int) -> Any:
        trainable, frozen = (
            [tf.convert_to_tensor(w) for w in part]
            for part in (weights.trainable, weights.non_trainable)
        )
        moved = update(trainable, frozen, dataset, tf.constant(steps, tf.int64))
        return tff.learning.models.ModelWeights(tuple(moved), tuple(frozen))

    return fine_tune
