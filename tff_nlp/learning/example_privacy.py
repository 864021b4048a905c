"""DP-SGD inside a client: every example's gradient is clipped, then the sum gets noise.

Abadi et al. 2016, "Deep Learning with Differential Privacy", algorithm 1. The batches must be drawn
by Poisson sampling (`clients.batching.plan_poisson_steps`): their size varies, and the sum is
divided by the expected one. The noise comes from a key of 256 bits that the client's data bring:
neither the server nor a reader has it.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from tff_nlp import errors
from tff_nlp.privacy import clipped_mean, keystream, mechanism_checks, noise

# Sums of up to 2^13 examples are exact in float64, whose 53 bits hold these and those.
_SUM_BITS = 40


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
        mechanism_checks.check_clipping_norm(self.clipping_norm)
        mechanism_checks.check_noise_multiplier(self.noise_multiplier)
        if self.expected_batch_size < 1:
            raise errors.UserError(f"--batch_size={self.expected_batch_size}: must be 1 or more")


def private_gradients(
    losses_of: Losses,
    weights: Sequence[tf.Tensor],
    batch: Batch,
    *,
    key: tf.Tensor,
    step: tf.Tensor,
    privacy: ExamplePrivacy,
) -> Gradients:
    """Returns the noisy mean of the clipped gradients of a batch's examples.

    Each example goes forward and backward by itself, without its padding, so that memory does not
    grow with the batch.

    Args:
      losses_of: The losses of a batch.
      weights: What the gradient is of.
      batch: The batch, which may be empty.
      key: uint32[8], key of the noise of this client in this round, and of its dropout, which must
        not depend on the other examples either; all zeros, which is no key, make the gradient NaN.
      step: int32, the step's number: no two steps share noise.
      privacy: Clipping and noise.
    """
    norm = tf.constant(privacy.clipping_norm, tf.float32)
    grid = noise.power_of_two(norm) * 2.0**-_SUM_BITS
    words = keystream.blocks(key, (0, step, noise.DROPOUT), 0, 1)
    seed = tf.bitcast(words[:2, 0], tf.int32)
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
        clipped, _ = clipped_mean.clip(gradients, norm, grid)
        total = tuple(t + tf.cast(g, tf.float64) for t, g in zip(total, clipped, strict=True))
        # One example that is not finite must not take its client's other examples with it.
        finite = tf.math.is_finite(own)
        loss += tf.where(finite, own, 0.0)
        return index + 1, total, loss, correct + tf.where(finite, right, 0.0)

    start = (
        tf.zeros([], tf.int32),
        tuple(tf.zeros(w.shape, tf.float64) for w in weights),
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
    noisy = list(total)
    if privacy.noise_multiplier:
        stddev = tf.constant(privacy.noise_multiplier * privacy.clipping_norm, tf.float64)
        drawn = noise.standard_normals(key, [t.shape for t in total], step)
        noisy = [
            noise.snap(t + stddev * part, stddev) for t, part in zip(total, drawn, strict=True)
        ]
    mean = [tf.cast(t / privacy.expected_batch_size, tf.float32) for t in noisy]
    return mean, loss, correct
