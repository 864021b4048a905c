"""DP-SGD inside a client: every example's gradient is clipped, then the sum gets noise.

Abadi et al. 2016, "Deep Learning with Differential Privacy", algorithm 1. The batches must be drawn
by Poisson sampling (`clients.batching.plan_poisson_steps`): their size varies, and the sum is
divided by the expected one. The noise comes from a key of 256 bits that the client's data bring:
neither the server nor a reader has it.
"""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from tff_nlp import errors
from tff_nlp.learning import local_training
from tff_nlp.privacy import clipped_mean, keystream, mechanism_checks, noise
from tff_nlp.tasks import task as tasks

# Sums of up to 2^13 examples are exact in float64, whose 53 bits hold these and those.
_SUM_BITS = 40


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


def private_gradient(
    task: tasks.Task, key: tf.Tensor, privacy: ExamplePrivacy
) -> local_training.GradientOf:
    """Returns what gives the noisy mean of the clipped gradients of a batch's examples.

    Each example goes forward and backward by itself, so that memory does not grow with the batch.

    Args:
      task: What is trained for; gives single examples, without their padding.
      key: uint32[8], key of the noise of this client in this round, and of its dropout, which must
        not depend on the other examples either; all zeros, which is no key, make the gradient NaN.
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
                found = step.losses(weights, inputs, tasks.rows_at(step.y, index), example_seed)
                # The mean over the example's own tokens: no example weighs more than another.
                own = tf.reduce_sum(found.losses)
            gradients = [
                tf.convert_to_tensor(g)
                for g in tape.gradient(
                    own, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO
                )
            ]
            clipped, _ = clipped_mean.clip(gradients, norm, grid)
            total = tuple(t + tf.cast(g, tf.float64) for t, g in zip(total, clipped, strict=True))
            # One example that is not finite must not take its client's other examples with it.
            finite = tf.math.is_finite(own)
            found_sums = tasks.with_totals(found)
            sums = {
                name: value + tf.where(finite, found_sums[name], tf.zeros_like(value))
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
        drawn = noise.standard_normals(key, [t.shape for t in total], number)
        noisy = [
            noise.snap(t + stddev * part, stddev) for t, part in zip(total, drawn, strict=True)
        ]
    return [tf.cast(t / privacy.expected_batch_size, tf.float32) for t in noisy]
