"""The computation of one client in one round: some local steps, then the change of its weights.

The update is a pure function of tensors. It creates no variables, so no random initial values are
drawn and then overwritten with the broadcast weights. A table that is read only by gathering is
trained on the client's own rows, because all other rows would keep their values. The result has the
dense shape that aggregators expect.
"""

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tff_nlp.learning import client_batches, optimizers
from tff_nlp.learning.transforms import transform as transforms
from tff_nlp.tasks import task as tasks

Weights = Sequence[tf.Tensor]
Sums = Mapping[str, tf.Tensor]


@dataclasses.dataclass(frozen=True)
class LocalVocabulary:
    """The distinct rows of a table that one client reads.

    Attributes:
      tokens: int32[distinct], sorted ids of the rows.
      positions: int32[rows], the position in `tokens` of each id that occurs.
    """

    tokens: tf.Tensor
    positions: tf.Tensor


def local_vocabulary(seen: tf.Tensor) -> LocalVocabulary:
    """Numbers the rows that a client reads.

    Args:
      seen: bool[rows], whether the client reads the row.
    """
    tokens = tf.cast(tf.squeeze(tf.where(seen), axis=1), tf.int32)
    positions = tf.tensor_scatter_nd_update(
        tf.zeros(tf.shape(seen), tf.int32), tokens[:, tf.newaxis], tf.range(tf.size(tokens))
    )
    return LocalVocabulary(tokens, positions)


@dataclasses.dataclass(frozen=True)
class Step:
    """The input of a gradient function.

    Attributes:
      losses: Function (weights, inputs, y, seed) -> losses of the examples.
      inputs: Inputs of the batch.
      y: Targets of the batch.
      number: int32, number of the step, from 0.
      seed: int32[2], seed of the dropout in this step.
    """

    losses: "LossesOf"
    inputs: Any
    y: Any
    number: tf.Tensor
    seed: tf.Tensor


# (weights, inputs, y, seed) -> losses of the examples; no seed: no dropout.
LossesOf = Callable[[Weights, Any, Any, tf.Tensor | None], tasks.Losses]
# (weights, step) -> dense gradient, sums of `tasks.with_totals`.
GradientOf = Callable[[Weights, Step], tuple[Sequence[tf.Tensor], Sums]]


def batch_gradient(weights: Weights, step: Step) -> tuple[Sequence[tf.Tensor], Sums]:
    """Returns the gradient of a batch's mean loss."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(weights)
        losses = step.losses(weights, step.inputs, step.y, step.seed)
        sums = tasks.with_totals(losses)
        loss = tf.math.divide_no_nan(sums["loss_sum"], sums["weight_sum"])
    gradients = tape.gradient(loss, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    # The gradient of a product over an axis of size 1 loses its static shape.
    return [tf.ensure_shape(g, w.shape) for g, w in zip(gradients, weights, strict=True)], sums


def train(
    task: tasks.Task,
    optimizer: optimizers.LocalOptimizer,
    trainable: Weights,
    frozen: Weights,
    batches: client_batches.ClientBatches,
    *,
    learning_rate: tf.Tensor,
    round_seed: tf.Tensor,
    transform: transforms.GradientTransform,
    gradient_of: GradientOf = batch_gradient,
    sparse: bool = True,
) -> tuple[tuple[tf.Tensor, ...], Sums]:
    """Trains on a client's batches, one step per batch.

    Args:
      task: The task.
      optimizer: The client's optimizer.
      trainable: The weights to begin with.
      frozen: The weights that do not train.
      batches: The client's batches.
      learning_rate: float32, this round's step size.
      round_seed: int32[2], seed of the round's dropout.
      transform: Transform of the gradients.
      gradient_of: Function that computes the gradient of a step.
      sparse: Whether the task's table may be trained on the client's own rows only.

    Returns:
      The update and the client's sums. The update is the initial minus the final weights, as in
      TFF, in the shapes of the trainable weights. The sums are "num_examples" and "num_batches"
      (int64), "update_norm_squared", "non_finite" (1.0 if the loss or the update overflowed; the
      update is then zero), and those of `tasks.with_totals`.
    """
    seed = tf.random.experimental.stateless_fold_in(round_seed, batches.fingerprint)
    table = task.table if sparse and transform.sparse else None
    initial = list(trainable)
    vocabulary = None
    if table is not None and batches.seen is not None:
        vocabulary = local_vocabulary(batches.seen)
        initial[table.weight] = tf.gather(trainable[table.weight], vocabulary.tokens)

    losses = _losses_of(task, frozen, batches)

    def gradient(weights: Weights, number: tf.Tensor) -> tuple[Sequence[tf.Tensor], Sums]:
        x, y = batches.read(number)
        inputs = task.inputs(x)
        if vocabulary is not None and table is not None:
            rows = tf.gather(vocabulary.positions, inputs[table.ids])
            inputs = collections.OrderedDict(inputs, **{table.ids: rows})
        step_seed = tf.random.experimental.stateless_fold_in(seed, number)
        return gradient_of(weights, Step(losses, inputs, y, number, step_seed))

    final, sums = _steps(task, optimizer, initial, gradient, transform, batches, learning_rate)
    deltas = [w0 - w for w0, w in zip(initial, final, strict=True)]
    deltas, sums = close(deltas, sums, batches)
    if vocabulary is not None and table is not None:
        deltas[table.weight] = tf.scatter_nd(
            vocabulary.tokens[:, tf.newaxis], deltas[table.weight], trainable[table.weight].shape
        )
    return tuple(deltas), sums


def _losses_of(
    task: tasks.Task, frozen: Weights, batches: client_batches.ClientBatches
) -> LossesOf:
    """Returns the loss function of the arguments that change from step to step."""
    return lambda weights, inputs, y, seed: task.losses(
        weights, frozen, inputs, y, batches.statistics, seed
    )


def _steps(
    task: tasks.Task,
    optimizer: optimizers.LocalOptimizer,
    initial: Weights,
    gradient: Callable[[Weights, tf.Tensor], tuple[Sequence[tf.Tensor], Sums]],
    transform: transforms.GradientTransform,
    batches: client_batches.ClientBatches,
    learning_rate: tf.Tensor,
) -> tuple[Weights, Sums]:
    """Returns the weights after all steps, and the sums of the losses."""
    decayed = [is_decayed(name) for name in task.trainable_names]

    def body(number: tf.Tensor, weights: tuple, state: tuple, own: Any, sums: Sums) -> tuple:
        gradients, added = gradient(weights, number)
        gradients, own = transform.update(gradients, own, weights)
        state, weights = optimizer.step(state, weights, gradients, learning_rate, decayed)
        return number + 1, weights, state, own, {name: sums[name] + added[name] for name in sums}

    start = (
        tf.zeros([], tf.int32),
        tuple(initial),
        optimizer.initial_state(initial),
        transform.init(initial),
        dict(task.no_totals()),
    )
    _, final, _, _, sums = tf.while_loop(
        lambda number, *_: number < batches.count,
        body,
        start,
        shape_invariants=tf.nest.map_structure(lambda t: t.shape, start),
        parallel_iterations=1,
    )
    return final, sums


def full_gradient(
    task: tasks.Task,
    trainable: Weights,
    frozen: Weights,
    batches: client_batches.ClientBatches,
    round_seed: tf.Tensor,
) -> tuple[tf.Tensor, ...]:
    """Returns the gradient of the mean loss over all of a client's batches, at fixed weights.

    Args:
      task: The task.
      trainable: The trainable weights.
      frozen: The weights that do not train.
      batches: The client's batches.
      round_seed: int32[2], seed of the round's dropout.
    """
    seed = tf.random.experimental.stateless_fold_in(round_seed, batches.fingerprint)

    losses = _losses_of(task, frozen, batches)

    def body(number: tf.Tensor, total: tuple, weight: tf.Tensor) -> tuple:
        x, y = batches.read(number)
        step_seed = tf.random.experimental.stateless_fold_in(seed, number)
        step = Step(losses, task.inputs(x), y, number, step_seed)
        gradients, sums = batch_gradient(trainable, step)
        own = sums["weight_sum"]
        total = tuple(t + own * g for t, g in zip(total, gradients, strict=True))
        return number + 1, total, weight + own

    start = (tf.zeros([], tf.int32), tuple(map(tf.zeros_like, trainable)), tf.zeros([]))
    _, total, weight = tf.while_loop(
        lambda number, *_: number < batches.count, body, start, parallel_iterations=1
    )
    return tuple(tf.math.divide_no_nan(part, weight) for part in total)


def mean_loss(
    task: tasks.Task,
    trainable: Weights,
    frozen: Weights,
    batches: client_batches.ClientBatches,
) -> tf.Tensor:
    """Returns the mean loss over all of a client's batches, float32, without dropout.

    Args:
      task: The task.
      trainable: The trainable weights.
      frozen: The weights that do not train.
      batches: The client's batches.

    Returns:
      The mean over the examples, or over their tokens; 0 for a client without batches.
    """
    losses = _losses_of(task, frozen, batches)

    def body(number: tf.Tensor, total: tf.Tensor, weight: tf.Tensor) -> tuple:
        x, y = batches.read(number)
        sums = tasks.with_totals(losses(trainable, task.inputs(x), y, None))
        return number + 1, total + sums["loss_sum"], weight + sums["weight_sum"]

    start = (tf.zeros([], tf.int32), tf.zeros([]), tf.zeros([]))
    _, total, weight = tf.while_loop(
        lambda number, *_: number < batches.count, body, start, parallel_iterations=1
    )
    return tf.math.divide_no_nan(total, weight)


def close(
    deltas: Sequence[tf.Tensor], sums: Sums, batches: client_batches.ClientBatches
) -> tuple[list[tf.Tensor], Sums]:
    """Returns the update and the client's sums. If they are not finite, the update is zero."""
    norm_squared = tf.add_n([tf.reduce_sum(tf.square(d)) for d in deltas])
    finite = tf.math.is_finite(norm_squared) & tf.math.is_finite(sums["loss_sum"])
    kept = tf.cond(finite, lambda: list(deltas), lambda: [tf.zeros_like(d) for d in deltas])
    counted = dict(sums, num_examples=batches.num_examples, update_norm_squared=norm_squared)
    closed = {
        name: tf.where(finite, value, tf.zeros_like(value)) for name, value in counted.items()
    }
    return kept, _in_order(
        dict(
            closed,
            non_finite=1.0 - tf.cast(finite, tf.float32),
            num_batches=tf.cast(batches.count, tf.int64),
        )
    )


def nothing_trained(task: tasks.Task) -> Sums:
    """Returns the sums of a client that did not train."""
    zero = tf.zeros([])
    return _in_order(
        dict(
            task.no_totals(),
            non_finite=zero,
            num_batches=tf.zeros([], tf.int64),
            num_examples=tf.zeros([], tf.int64),
            update_norm_squared=zero,
        )
    )


def _in_order(sums: Sums) -> Sums:
    return collections.OrderedDict(sorted(sums.items()))


def is_decayed(name: str) -> bool:
    """Whether weight decay applies to a weight: to kernels and embeddings only, as in BERT."""
    last = name.rsplit("/", maxsplit=1)[-1]
    return not (last.startswith("bias") or last in ("gamma", "beta"))
