"""The mean of clipped updates with noise, as one of TFF's aggregators.

The denominator is fixed (the expected cohort), so that the noise does not depend on who came, and
the clipping norm may follow a quantile of the updates' norms (Andrew et al. 2021, algorithm 1).

What the accountant takes for granted holds for the numbers that a computer has: an update is no
longer than the norm after rounding, it is a multiple of a power of two that lets float64 sums be
exact in any order (Casacuberta et al. 2022, "Widespread Underestimation of Sensitivity in
Differentially Private Libraries"), and the noisy sum is rounded to a coarse grid (`noise.snap`).
"""

import collections
import dataclasses
import math
from typing import Any, NamedTuple

import dp_accounting as dpa
import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp import errors
from tff_nlp.privacy import events, keystream, mechanism_checks, properties
from tff_nlp.privacy import noise as noises

# Poisson sampling draws more than this many times the expected cohort with no probability that
# matters; sums are exact up to there.
_LARGEST_COHORT = 16
# Tables of so many numbers are clipped by their rows.
_LARGE_TABLE = 2**18
# Finer ones leave the range of float32.
_FINEST_GRID = 2.0**-100
# Of a clipped update, after the rounding of the factor and of the product.
_SLACK = 1 - 2.0**-21


@dataclasses.dataclass(frozen=True)
class Clipping:
    """The L2 norm to which each update is clipped.

    Attributes:
      norm: The norm, of the first round where it adapts.
      target_quantile: Where the norm adapts: the share of the clients that shall not be clipped
        (gamma of Andrew et al. 2021); None for a fixed norm.
      learning_rate: eta_C of the same paper, of the norm's geometric steps.
      count_stddev: Standard deviation of the noise on the count of unclipped clients.
    """

    norm: float
    target_quantile: float | None = None
    learning_rate: float = 0.2
    count_stddev: float = 0.0

    def __post_init__(self) -> None:
        mechanism_checks.check_clipping_norm(self.norm)
        if self.target_quantile is not None and not 0 < self.target_quantile < 1:
            raise errors.UserError(
                f"--target_quantile={self.target_quantile:g}: must be between 0 and 1"
            )
        if not 0 < self.learning_rate < math.inf:
            raise errors.UserError(
                f"--clipping_learning_rate={self.learning_rate:g}: must be above 0 and finite"
            )
        if not 0 <= self.count_stddev < math.inf:
            raise errors.UserError(
                f"--clipped_count_stddev={self.count_stddev:g}: must be 0 or more, and finite"
            )

    def next(self, norm: tf.Tensor, clipped: tf.Tensor, cohort: float, key: tf.Tensor) -> Any:
        """Returns the next round's norm.

        Args:
          norm: float32, this round's.
          clipped: float32, how far the clipped clients outnumber the unclipped, halved: the sum of
            +1/2 for each clipped client and -1/2 for each other one.
          cohort: The expected cohort.
          key: uint32[8], the round's.
        """
        if self.target_quantile is None:
            return norm
        noisy = tf.cast(clipped, tf.float64)
        if self.count_stddev:
            drawn = keystream.standard_normals(key, (0, 0, noises.COUNT), 1)[0]
            stddev = tf.constant(self.count_stddev, tf.float64)
            noisy = noises.snap(noisy + stddev * drawn, stddev)
        unclipped_share = tf.cast(0.5 - noisy / cohort, tf.float32)
        return norm * tf.exp(-self.learning_rate * (unclipped_share - self.target_quantile))


class MeanState(NamedTuple):
    """State of `ClippedMean` between rounds.

    Attributes:
      clipping_norm: float32.
      noise: State of the noise.
      key: uint32[8], the key of the next round's noise. Whoever runs the rounds sets it before
        each; it is all zeros after each, so that no checkpoint holds one and none is used twice. A
        round without one ends in NaN.
    """

    clipping_norm: Any
    noise: Any
    key: Any


class Clipped(NamedTuple):
    """What a client sends: its update, clipped, and +1/2 if that took clipping, else -1/2."""

    update: Any
    balance: Any


class Total(NamedTuple):
    """What is summed over clients: updates in float64, how many came, and their balances."""

    update: Any
    clients: Any
    balance: Any


def clip(record: Any, norm: tf.Tensor, grid: tf.Tensor) -> tuple[Any, tf.Tensor]:
    """Clips an update to a norm and rounds it towards zero to a grid.

    Args:
      record: float32 tensors. One that is not finite becomes zero.
      norm: float32, the largest L2 norm of all of them together.
      grid: float64, a power of two: the result consists of multiples of it.

    Returns:
      The update, no longer than the norm, and bool: whether it was clipped or not finite.
    """
    flat = [tf.convert_to_tensor(part) for part in tf.nest.flatten(record)]
    tables = [_FewRows.of(part) for part in flat]
    squares = [tf.reduce_sum(tf.square(tf.cast(table.rows, tf.float64))) for table in tables]
    length, bound = tf.sqrt(tf.add_n(squares)), tf.cast(norm, tf.float64)
    within = length <= bound  # false of NaN
    finite = tf.math.is_finite(length)
    # A factor of exactly 1 leaves an update within the norm as it is.
    factor = tf.where(within, tf.ones([], tf.float64), _SLACK * bound / length)
    factor, steps = tf.cast(factor, tf.float32), tf.cast(1 / grid, tf.float32)

    def shorten(part: tf.Tensor) -> tf.Tensor:
        scaled = tf.where(finite, factor * part, 0.0) * steps
        return tf.sign(scaled) * tf.floor(tf.abs(scaled)) / steps

    clipped = [table.with_rows(shorten(table.rows)) for table in tables]
    return tf.nest.pack_sequence_as(record, clipped), ~within


class _FewRows(NamedTuple):
    """A tensor, or those rows of a large table that are not zero.

    A client's update of an embedding is zero but for the rows of its own words. What keeps zeros is
    computed on the others alone, and the streaming context adds up the others alone.

    Attributes:
      rows: The rows, or the whole tensor.
      indices: int64[rows, 1], where they are; None of a whole tensor.
      shape: The tensor's shape.
    """

    rows: tf.Tensor
    indices: tf.Tensor | None
    shape: tf.TensorShape

    @classmethod
    def of(cls, tensor: tf.Tensor) -> "_FewRows":
        """Returns the rows of a large table, or else the tensor itself."""
        shape = tensor.shape
        if shape.rank != 2 or (shape.num_elements() or 0) < _LARGE_TABLE:
            return cls(tensor, None, shape)
        # Also a row with a NaN is not zero.
        indices = tf.where(tf.reduce_any(tf.not_equal(tensor, 0.0), axis=1))
        return cls(tf.gather_nd(tensor, indices), indices, shape)

    def with_rows(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns the tensor with other numbers in the same rows."""
        if self.indices is None:
            return rows
        return tf.scatter_nd(self.indices, rows, tf.constant(self.shape.as_list(), tf.int64))


class ClippedMean:
    """Clips updates to a norm, sums them, adds noise and divides by the expected cohort."""

    def __init__(
        self,
        clipping: Clipping,
        noise: noises.SumNoise,
        *,
        noise_multiplier: float,
        denominator: float,
        specs: Any,
    ) -> None:
        """Initializes the mean.

        Args:
          clipping: The clipping norm.
          noise: Draws the noise on the sum.
          noise_multiplier: Standard deviation of that noise over the clipping norm.
          denominator: The expected cohort.
          specs: `tf.TensorSpec`s of an update.
        """
        self._clipping = clipping
        self._noise = noise
        self._noise_multiplier = noise_multiplier
        self._denominator = denominator
        self._specs = specs

    def initial_state(self) -> MeanState:
        """Returns the state before the first round."""
        return MeanState(
            tf.constant(self._clipping.norm, tf.float32),
            self._noise.initial_state(self._specs),
            tf.zeros([8], tf.uint32),
        )

    def prepare(self, norm: tf.Tensor, record: Any) -> Clipped:
        """Returns what a client sends.

        Args:
          norm: float32, the round's clipping norm.
          record: The client's update.
        """
        # So many bits are left for the sum of a cohort, of the 53 that are exact.
        bits = 52 - math.ceil(math.log2(max(2.0, _LARGEST_COHORT * self._denominator)))
        grid = tf.maximum(noises.power_of_two(norm) * 2.0**-bits, _FINEST_GRID)
        update, clipped = clip(record, norm, grid)
        return Clipped(update, tf.where(clipped, 0.5, -0.5))

    def zero(self) -> Total:
        """Returns the sum over nobody."""
        zeros = tuple(tf.zeros(s.shape, tf.float64) for s in tf.nest.flatten(self._specs))
        return Total(zeros, tf.zeros([], tf.float32), tf.zeros([], tf.float32))

    def add(self, total: Total, sent: Clipped) -> Total:
        """Returns a sum with one more client."""
        parts = zip(total.update, tf.nest.flatten(sent.update), strict=True)
        summed = tuple(t + tf.cast(part, tf.float64) for t, part in parts)
        return Total(summed, total.clients + 1, total.balance + sent.balance)

    def release(
        self, total: Total, state: MeanState
    ) -> tuple[Any, MeanState, "collections.OrderedDict[str, Any]"]:
        """Returns the noisy mean, the next state and the round's measurements.

        "clipped_share", "noise_norm" and "signal_norm" are measured without noise: they are for
        whoever runs a simulation, not for publication.
        """
        signal, noise_state = list(total.update), state.noise
        noisy, noise_norm = signal, tf.zeros([], tf.float64)
        if self._noise_multiplier:
            stddev = self._noise_multiplier * tf.cast(state.clipping_norm, tf.float64)
            noise, noise_state = self._noise.next(state.noise, self._specs, stddev, state.key)
            noisy = [noises.snap(s + n, stddev) for s, n in zip(signal, noise, strict=True)]
            noise_norm = _norm([n - s for n, s in zip(noisy, signal, strict=True)])
        mean = [tf.cast(part / self._denominator, tf.float32) for part in noisy]
        new_state = MeanState(
            self._clipping.next(state.clipping_norm, total.balance, self._denominator, state.key),
            noise_state,
            tf.zeros([8], tf.uint32),
        )
        share = 0.5 + tf.math.divide_no_nan(total.balance, total.clients)
        measured = collections.OrderedDict(
            clipped_share=tf.where(total.clients > 0, share, 0.0),
            clipping_norm=state.clipping_norm,
            noise_multiplier=tf.constant(self.cost, tf.float32),
            noise_norm=tf.cast(noise_norm / self._denominator, tf.float32),
            signal_norm=tf.cast(_norm(signal) / self._denominator, tf.float32),
        )
        return tf.nest.pack_sequence_as(self._specs, mean), new_state, measured

    @property
    def cost(self) -> float:
        """Noise multiplier of the one Gaussian mechanism that costs as much as a round."""
        parts = [dpa.GaussianDpEvent(self._noise_multiplier)]
        if self._clipping.target_quantile is not None:
            # Centred, a client moves the count by one half.
            parts.append(dpa.GaussianDpEvent(2 * self._clipping.count_stddev))
        return events.noise_multiplier_of(dpa.ComposedDpEvent(parts)) or 0.0


def _norm(parts: list[tf.Tensor]) -> tf.Tensor:
    return tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(part)) for part in parts]))


class ClippedMeanFactory(tff.aggregators.UnweightedAggregationFactory):
    """TFF's aggregator of a `ClippedMean`, whose noise takes the shapes of what comes.

    Its state is a `MeanState`, whose key has to be set before each round. Its measurements are
    those of `ClippedMean.release`.
    """

    properties = properties.Properties(protects_clients=True)

    def __init__(
        self,
        clipping: Clipping,
        noise: noises.SumNoise,
        *,
        noise_multiplier: float,
        denominator: float,
    ) -> None:
        """Initializes the factory; arguments as for `ClippedMean`.

        Raises:
          UserError: If noise multiplier or denominator are out of range.
        """
        mechanism_checks.check_noise_multiplier(noise_multiplier)
        mechanism_checks.check_cohort(denominator)
        self._clipping = clipping
        self._noise = noise
        self._numbers = {"noise_multiplier": noise_multiplier, "denominator": denominator}

    def create(self, value_type: tff.Type) -> tff.templates.AggregationProcess:
        """Returns the aggregation process for updates of float32 tensors.

        Raises:
          TypeError: If a tensor has another type.
        """
        specs = tff.types.type_to_tf_tensor_specs(value_type)
        if any(spec.dtype != tf.float32 for spec in tf.nest.flatten(specs)):
            raise TypeError(f"only float32 can be clipped, not {value_type}")
        mean = ClippedMean(self._clipping, self._noise, specs=specs, **self._numbers)

        @tff.tensorflow.computation
        def initial() -> Any:
            return mean.initial_state()

        state_type = initial.type_signature.result

        @tff.tensorflow.computation(state_type)
        def norm_of(state: Any) -> Any:
            return state.clipping_norm

        @tff.tensorflow.computation(np.float32, value_type)
        def prepare(norm: Any, value: Any) -> Any:
            return mean.prepare(norm, value)

        @tff.tensorflow.computation
        def zero() -> Any:
            return mean.zero()

        sent_type, total_type = prepare.type_signature.result, zero.type_signature.result

        @tff.tensorflow.computation(total_type, sent_type)
        def accumulate(total: Any, sent: Any) -> Any:
            return mean.add(total, sent)

        @tff.tensorflow.computation(total_type, total_type)
        def merge(one: Any, other: Any) -> Any:
            return tf.nest.map_structure(tf.add, one, other)

        @tff.tensorflow.computation(total_type)
        def report(total: Any) -> Any:
            return total

        @tff.tensorflow.computation(total_type, state_type)
        def release(total: Any, state: Any) -> Any:
            return mean.release(total, state)

        @tff.federated_computation
        def initialize() -> Any:
            return tff.federated_eval(initial, tff.SERVER)

        @tff.federated_computation(
            initialize.type_signature.result, tff.FederatedType(value_type, tff.CLIENTS)
        )
        def next_fn(state: Any, value: Any) -> Any:
            # The norm alone is sent to clients, never the key.
            norm = tff.federated_broadcast(tff.federated_map(norm_of, state))
            sent = tff.federated_map(prepare, (norm, value))
            total = tff.federated_aggregate(sent, zero(), accumulate, merge, report)
            mean_of_all, new_state, measured = tff.federated_map(release, (total, state))
            return tff.templates.MeasuredProcessOutput(new_state, mean_of_all, measured)

        return tff.templates.AggregationProcess(initialize, next_fn)
