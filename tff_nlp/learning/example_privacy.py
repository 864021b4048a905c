"""DP-SGD inside a client: every example's gradient is clipped, then the sum gets noise.

Abadi et al. 2016, "Deep Learning with Differential Privacy", algorithm 1. The batches must be drawn
by Poisson sampling (`clients.batching.plan_poisson_steps`): their size varies, and the sum is
divided by the expected one.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from tff_nlp import errors
from tff_nlp.privacy import noise


class Batch(NamedTuple):
    """What a step trains on.

    Attributes:
      ids: int32[batch, length], rows of the token embedding.
      mask: bool[batch, length], false where there is padding, which is on the right.
      labels: int32[batch].
    """

    ids: tf.Tensor
    mask: tf.Tensor
    labels: tf.Tensor


# The gradient, the sum of the losses, and how many predictions were right.
Gradients = tuple[list[tf.Tensor], tf.Tensor, tf.Tensor]
# (weights, batch, int32[2] seed) to float32[batch] losses and the number of right predictions.
Losses = Callable[[Sequence[tf.Tensor], Batch, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

# Tells the seeds of the noise from those of dropout.
_NOISE = 0x6E6F6973


@dataclasses.dataclass(frozen=True)
class ExamplePrivacy:
    """Clipping and noise of DP-SGD.

    Attributes:
      clipping_norm: L2 norm to which each example's gradient is clipped.
      noise_multiplier: Standard deviation of the noise on the sum of a batch over that norm.
      expected_batch_size: By which the sum is divided.
    """

    clipping_norm: float
    noise_multiplier: float
    expected_batch_size: int

    def __post_init__(self) -> None:
        if not 0 < self.clipping_norm < float("inf"):
            raise errors.UserError(
                f"--clipping_norm={self.clipping_norm:g}: must be above 0 and finite"
            )
        if not 0 <= self.noise_multiplier < float("inf"):
            raise errors.UserError(
                f"--noise_multiplier={self.noise_multiplier:g}: must be 0 or more, and finite"
            )
        if self.expected_batch_size < 1:
            raise errors.UserError(f"--batch_size={self.expected_batch_size}: must be 1 or more")


def private_gradients(
    losses_of: Losses,
    weights: Sequence[tf.Tensor],
    batch: Batch,
    seed: tf.Tensor,
    *,
    privacy: ExamplePrivacy,
) -> Gradients:
    """Returns the noisy mean of the clipped gradients of a batch's examples.

    Each example goes forward and backward by itself, without its padding, so that memory does not
    grow with the batch.

    Args:
      losses_of: The losses of a batch.
      weights: What the gradient is of.
      batch: The batch, which may be empty.
      seed: Of the step, for dropout and noise.
      privacy: Clipping and noise.
    """
    lengths = tf.reduce_sum(tf.cast(batch.mask, tf.int32), axis=1)

    def add_example(index: tf.Tensor, total: tuple, loss: tf.Tensor, correct: tf.Tensor) -> tuple:
        row, width = slice(index, index + 1), lengths[index]
        example = Batch(batch.ids[row, :width], batch.mask[row, :width], batch.labels[row])
        example_seed = tf.random.experimental.stateless_fold_in(seed, index)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            losses, right = losses_of(weights, example, example_seed)
            own = tf.reduce_sum(losses)
        gradients = [
            tf.convert_to_tensor(g)
            for g in tape.gradient(own, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        ]
        norm = tf.linalg.global_norm(gradients)
        factor = tf.where(norm > privacy.clipping_norm, privacy.clipping_norm / norm, 1.0)
        total = tuple(t + factor * g for t, g in zip(total, gradients, strict=True))
        return index + 1, total, loss + own, correct + right

    start = (
        tf.zeros([], tf.int32),
        tuple(tf.zeros_like(w) for w in weights),
        tf.zeros([]),
        tf.zeros([]),
    )
    _, total, loss, correct = tf.while_loop(
        lambda index, *_: index < tf.size(batch.labels),
        add_example,
        start,
        shape_invariants=tf.nest.map_structure(lambda t: t.shape, start),
        parallel_iterations=1,
    )
    noise_seed = tf.random.experimental.stateless_fold_in(seed, _NOISE)
    stddev = privacy.noise_multiplier * privacy.clipping_norm
    drawn = noise.standard_normals(noise_seed, [t.shape for t in total])
    noisy = [t + stddev * part for t, part in zip(total, drawn, strict=True)]
    return [t / privacy.expected_batch_size for t in noisy], loss, correct
