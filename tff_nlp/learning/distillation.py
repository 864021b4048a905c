"""Distillation: a model learns from the outputs of other models on public texts.

Algorithms that distil exchange a model's logits on texts that everyone has. The texts are constants
of the computations: each client and the server got them before training.
"""

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp import errors
from tff_nlp.learning import client_batches, local_training, optimizers
from tff_nlp.learning.transforms import transform as transforms
from tff_nlp.tasks import task as tasks

# The seeds of dropout in distillation differ from those in local training.
_SEED_OFFSET = 0x5D15


@dataclasses.dataclass(frozen=True, eq=False)
class PublicTexts:
    """Texts without labels that the server and all clients have, in batches.

    Attributes:
      batches: The `x` of each batch, NumPy arrays in the structure of the task's `x`.
      positions: For each batch, the numbers of its texts, int64[batch]. All of them together are 0
        to the number of texts minus 1, in any order.
    """

    batches: Sequence[Any]
    positions: Sequence[np.ndarray]

    def __post_init__(self) -> None:
        order = np.concatenate([[], *self.positions])
        if not len(order):
            raise errors.UserError("public: there are no public texts")
        if sorted(order) != list(range(len(order))):
            raise ValueError("the positions of the public texts are not 0 to their number minus 1")

    def __len__(self) -> int:
        return sum(map(len, self.positions))

    @property
    def places(self) -> np.ndarray:
        """The place of each text in the order of the batches, int64[texts]."""
        return np.argsort(np.concatenate(self.positions))


@dataclasses.dataclass(frozen=True)
class Distillation:
    """How a model learns from targets on the public texts.

    It minimises the mean of KL(target || model) over the texts, a step per batch.

    Attributes:
      optimizer: The optimizer. Its state starts anew each time.
      epochs: Number of passes over the texts each time.
    """

    optimizer: optimizers.ClientOptimizer = optimizers.ClientOptimizer()
    epochs: int = 1

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise errors.UserError(f"`distillation_epochs`={self.epochs}: must be 1 or more")


def check(task: tasks.Task, algorithm: str) -> None:
    """Refuses a task whose outputs cannot be averaged on public texts.

    Raises:
      UserError: If the model's output is not one logit for each category.
    """
    if not task.categories:
        raise errors.UserError(
            f"`algorithm`={algorithm}: distils the logits of categories, one row for each text, "
            f"and the task {task.name} has no categories; take `task`=classification or pairs"
        )


def logits(
    task: tasks.Task, trainable: Sequence[Any], frozen: Sequence[Any], public: PublicTexts
) -> tf.Tensor:
    """Returns a model's logits on the public texts, float32[texts, categories], without dropout.

    Args:
      task: The task.
      trainable: The trainable weights.
      frozen: The weights that do not train.
      public: The public texts. The rows of the result have the order of their numbers.
    """
    batches = client_batches.of_tensors(_student(task), _batches(task, public, None))
    rows = tf.TensorArray(
        tf.float32,
        size=batches.count,
        infer_shape=False,
        element_shape=[None, task.categories],
    )

    def body(number: tf.Tensor, found: tf.TensorArray) -> tuple:
        x, _ = batches.read(number)
        output = task.predict(tuple(trainable), tuple(frozen), task.inputs(x), None)
        return number + 1, found.write(number, output)

    _, found = tf.while_loop(
        lambda number, _: number < batches.count,
        body,
        (tf.zeros([], tf.int32), rows),
        parallel_iterations=1,
    )
    ordered = tf.gather(found.concat(), public.places)
    return tf.ensure_shape(ordered, [len(public), task.categories])


def distil(
    task: tasks.Task,
    distillation: Distillation,
    trainable: Sequence[tf.Tensor],
    frozen: Sequence[tf.Tensor],
    public: PublicTexts,
    targets: tf.Tensor,
    *,
    round_seed: tf.Tensor,
) -> tuple[tuple[tf.Tensor, ...], tf.Tensor]:
    """Returns the weights after the distillation, and its mean loss.

    If the targets are all zeros, which means that there are none yet, or if a loss or a weight
    overflows, the weights do not change.

    Args:
      task: The task.
      distillation: How the model learns.
      trainable: The weights to begin with.
      frozen: The weights that do not train.
      public: The public texts.
      targets: Probabilities for each text, float32[texts, categories].
      round_seed: int32[2], seed of the round's dropout, see `client_work.round_seed`.

    Returns:
      The trainable weights, and the mean of KL(target || model) in nats, float32: each text is
      measured when it is trained on. The loss is 0 without targets.
    """
    weights = tuple(map(tf.convert_to_tensor, trainable))

    def train() -> tuple:
        student = _student(task)
        batches = client_batches.of_tensors(student, _batches(task, public, targets))
        deltas, sums = local_training.train(
            student,
            distillation.optimizer,
            weights,
            frozen,
            batches.repeat(distillation.epochs),
            learning_rate=tf.constant(distillation.optimizer.learning_rate),
            round_seed=tf.random.experimental.stateless_fold_in(round_seed, _SEED_OFFSET),
            transform=transforms.chain(()),
        )
        loss = tf.math.divide_no_nan(sums["loss_sum"], sums["weight_sum"])
        return tuple(w - d for w, d in zip(weights, deltas, strict=True)), loss

    return tf.cond(tf.reduce_any(targets > 0), train, lambda: (weights, tf.zeros([])))


def to_send(matrix: tf.Tensor) -> tf.Tensor:
    """Returns a matrix of logits or probabilities as a client sends it.

    The mean of each row is subtracted, which changes no softmax. The matrix is divided by the root
    of its number of rows. So its L2 norm, which mechanisms clip, is the root mean square of the
    norms of its rows, whatever the number of texts is.

    Args:
      matrix: float32[texts, categories].
    """
    centred = matrix - tf.reduce_mean(matrix, axis=1, keepdims=True)
    return centred / tf.sqrt(float(matrix.shape[0]))


def targets(mean: tf.Tensor, temperature: float = 1.0) -> tf.Tensor:
    """Returns the probabilities to learn from, float32[texts, categories].

    Args:
      mean: The mean of what clients sent by `to_send`. If no client counts, its numbers are zeros
        or not finite. The result is then zeros: there are no targets.
      temperature: Divisor of the mean before the softmax. A number below 1 sharpens the result.
    """
    matrix = mean * tf.sqrt(float(mean.shape[0])) / temperature
    sent = tf.reduce_all(tf.math.is_finite(matrix)) & tf.reduce_any(tf.not_equal(matrix, 0.0))
    return tf.where(sent, tf.nn.softmax(matrix), tf.zeros_like(matrix))


def _student(task: tasks.Task) -> tasks.Task:
    """Returns the task of learning from targets: `y` of a batch is float32[batch, categories]."""
    x_spec, _ = tasks.split_batch(task.batch_spec)
    targets = tf.TensorSpec([None, task.categories], tf.float32)
    return dataclasses.replace(
        task,
        batch_spec=collections.OrderedDict(x=x_spec, y=targets),
        score=lambda output, y, statistics: _divergence(output, y),
        sum_specs={},
        statistics=tasks.no_statistics,
    )


def _divergence(output: tf.Tensor, targets: tf.Tensor) -> tasks.Losses:
    """Returns KL(target || softmax(output)) of each text in nats."""
    crossed = tf.nn.softmax_cross_entropy_with_logits(targets, output)
    entropy = -tf.reduce_sum(tf.math.xlogy(targets, targets), axis=1)
    losses = crossed - entropy
    return tasks.Losses(losses, tf.ones_like(losses), {})


def _batches(
    task: tasks.Task, public: PublicTexts, targets: tf.Tensor | None
) -> list["collections.OrderedDict[str, Any]"]:
    """Returns the batches of the public texts with their targets; None for zeros."""
    found = []
    for x, positions in zip(public.batches, public.positions, strict=True):
        if targets is None:
            y = tf.zeros([len(positions), task.categories])
        else:
            y = tf.gather(targets, positions)
        constants = tf.nest.map_structure(tf.constant, x)
        found.append(collections.OrderedDict(x=constants, y=y))
    return found
