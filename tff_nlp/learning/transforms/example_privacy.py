"""DP-SGD inside a client: each example's gradient is clipped, then noise is added to the sum.

Abadi et al. 2016, "Deep Learning with Differential Privacy", algorithm 1. The batches must be drawn
by Poisson sampling (`clients.batching.plan_poisson_steps`). Their size varies, and the sum is
divided by the expected size. The noise derives from a key of 256 bits in the client's data. The
server and readers of the model do not have the key.
"""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from tff_nlp import errors
from tff_nlp.learning import local_training
from tff_nlp.privacy import clipped_mean, keystream, mechanism_checks, noise
from tff_nlp.tasks import task as tasks

# float64 has 53 bits: 40 for each value, and 13 so that sums of up to 2^13 examples are exact.
_SUM_BITS = 40


@dataclasses.dataclass(frozen=True)
class ExamplePrivacy:
    """Clipping and noise of DP-SGD.

    Attributes:
      clipping_norm: L2 norm to which each example's gradient is clipped.
      noise_multiplier: Standard deviation of the noise on the sum of a batch, divided by the
        clipping norm.
      expected_batch_size: Expected number of examples of a batch. The sum is divided by it.
    """

    clipping_norm: float
    noise_multiplier: float
    expected_batch_size: int

    def __post_init__(self) -> None:
        mechanism_checks.check_clipping_norm(self.clipping_norm)
        mechanism_checks.check_noise_multiplier(self.noise_multiplier)
        if self.expected_batch_size < 1:
            raise errors.UserError(f"`batch_size`={self.expected_batch_size}: must be 1 or more")


def private_gradient(
    task: tasks.Task, key: tf.Tensor, privacy: ExamplePrivacy
) -> local_training.GradientOf:
    """Returns the function that computes the noisy mean of a batch's clipped gradients.

    It computes the gradient of one example at a time, so that memory does not grow with the batch.

    Args:
      task: The task. Its `one_example` returns single examples without padding.
      key: uint32[8], key of the noise of this client in this round. The dropout also derives from
        it, because it must not depend on the other examples. Zeros are not a key and make the
        gradient NaN.
      privacy: Clipping and noise.
    """
    norm = tf.constant(privacy.clipping_norm, tf.float32)
    grid = noise.power_of_two(norm) * 2.0**-_SUM_BITS

    def gradient_of(
        weights: local_training.Weights, step: local_training.Step
    ) -> tuple[Sequence[tf.Tensor], local_training.Sums]:
        words = keystream.blocks(key, (0, step.number, noise.DROPOUT), 0, 1)
        seed = tf.bitcast(words[:2, 0], tf.int32)

        def add_example(index: tf.Tensor, total: tuple, sums: local_training.Sums) -> tuple:
            example_seed = tf.random.experimental.stateless_fold_in(seed, index)
            inputs = task.one_example(step.inputs, index)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(weights)
                losses = step.losses(weights, inputs, tasks.rows_at(step.y, index), example_seed)
                # The mean over the example's own tokens: all examples have the same weight.
                own = tf.reduce_sum(losses.losses)
            gradients = [
                tf.convert_to_tensor(g)
                for g in tape.gradient(
                    own, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO
                )
            ]
            clipped, _ = clipped_mean.clip(gradients, norm, grid)
            total = tuple(t + tf.cast(g, tf.float64) for t, g in zip(total, clipped, strict=True))
            # An example that is not finite must not spoil the sums of the other examples.
            finite = tf.math.is_finite(own)
            own_sums = tasks.with_totals(losses)
            sums = {
                name: value + tf.where(finite, own_sums[name], tf.zeros_like(value))
                for name, value in sums.items()
            }
            return index + 1, total, sums

        start = (
            tf.zeros([], tf.int32),
            tuple(tf.zeros(w.shape, tf.float64) for w in weights),
            dict(task.no_totals()),
        )
        size = tf.shape(tf.nest.flatten(step.inputs)[0])[0]
        _, total, sums = tf.while_loop(
            lambda index, *_: index < size,
            add_example,
            start,
            shape_invariants=tf.nest.map_structure(lambda t: t.shape, start),
            parallel_iterations=1,
        )
        return _noisy_mean(total, key, step.number, privacy), sums

    return gradient_of


def _noisy_mean(
    total: Sequence[tf.Tensor], key: tf.Tensor, number: tf.Tensor, privacy: ExamplePrivacy
) -> list[tf.Tensor]:
    noisy = list(total)
    if privacy.noise_multiplier:
        stddev = tf.constant(privacy.noise_multiplier * privacy.clipping_norm, tf.float64)
        normals = noise.standard_normals(key, [t.shape for t in total], number)
        noisy = [
            noise.snap(t + stddev * part, stddev) for t, part in zip(total, normals, strict=True)
        ]
    return [tf.cast(t / privacy.expected_batch_size, tf.float32) for t in noisy]
