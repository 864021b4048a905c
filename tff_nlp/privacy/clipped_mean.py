"""The noisy mean of clipped updates, as a TFF aggregator.

The denominator is fixed (the expected cohort), so the noise does not depend on the actual cohort.
The clipping norm may follow a quantile of the updates' norms (Andrew et al. 2021, algorithm 1).

The accountant's assumptions also hold in floating point arithmetic:
- After rounding, an update is not longer than the clipping norm.
- Updates are multiples of a power of two, so float64 sums are exact in every order (Casacuberta et
  al. 2022, "Widespread Underestimation of Sensitivity in Differentially Private Libraries").
- The noisy sum is rounded to a coarse grid (`noise.snap`).
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
from tff_nlp.aggregation.compression import coding as codings
from tff_nlp.privacy import events, keystream, mechanism_checks, names, properties
from tff_nlp.privacy import noise as noises

# Sums are exact up to this many times the expected cohort. Poisson sampling exceeds it only with
# negligible probability.
_LARGEST_COHORT = 16
# In tables of this many numbers or more, only the rows that are not zero are clipped.
_LARGE_TABLE = 2**18
# A finer grid would leave the range of float32.
_FINEST_GRID = 2.0**-100
# Factor on a clipped update that allows for the rounding of the clipping factor and the product.
_SLACK = 1 - 2.0**-21


@dataclasses.dataclass(frozen=True)
class Clipping:
    """The L2 norm to which each update is clipped.

    Attributes:
      norm: The norm. If it adapts, the norm of the first round.
      target_quantile: Target fraction of clients that are not clipped (gamma of Andrew et al.
        2021). None for a fixed norm.
      learning_rate: Learning rate of the norm's geometric steps (eta_C of the same paper).
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
                f"`target_quantile`={self.target_quantile:g}: must be between 0 and 1"
            )
        if not 0 < self.learning_rate < math.inf:
            raise errors.UserError(
                f"`clipping_learning_rate`={self.learning_rate:g}: must be above 0 and finite"
            )
        if not 0 <= self.count_stddev < math.inf:
            raise errors.UserError(
                f"`clipped_count_stddev`={self.count_stddev:g}: must be 0 or more, and finite"
            )

    def next(self, norm: tf.Tensor, clipped: tf.Tensor, cohort: float, key: tf.Tensor) -> Any:
        """Returns the next round's norm.

        Args:
          norm: Clipping norm of this round, float32.
          clipped: Sum over the clients of +1/2 if clipped and -1/2 otherwise, float32.
          cohort: Expected cohort size.
          key: Key of the round's noise, uint32[8].
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
      clipping_norm: Clipping norm of the next round, float32.
      noise: State of the noise.
      key: Key of the next round's noise, uint32[8]. The caller must set it before each round. Each
        round resets it to zeros, so no checkpoint holds a key and no key is used twice. A round
        without a key gives NaN.
    """

    clipping_norm: Any
    noise: Any
    key: Any


class Clipped(NamedTuple):
    """What a client sends.

    Attributes:
      update: The clipped update.
      balance: +1/2 if the update was clipped, otherwise -1/2, float32.
    """

    update: Any
    balance: Any


class Coded(NamedTuple):
    """What a client sends with a codec. The server clips what it has decoded.

    Attributes:
      encoded: The encoded update, which is not clipped.
      norm: The clipping norm of the round, float32.
    """

    encoded: codings.Encoded
    norm: Any


class Total(NamedTuple):
    """Sums over clients.

    Attributes:
      update: Sum of the updates, float64.
      clients: Number of clients, float32.
      balance: Sum of the balances, float32.
    """

    update: Any
    clients: Any
    balance: Any


def clip(record: Any, norm: tf.Tensor, grid: tf.Tensor) -> tuple[Any, tf.Tensor]:
    """Clips an update to a norm and rounds it towards zero to a grid.

    Args:
      record: The update, float32 tensors. If a number is not finite, the result is zero.
      norm: Largest L2 norm of all tensors together, float32.
      grid: A power of two, float64. All numbers of the result are multiples of it.

    Returns:
      The update, which is not longer than the norm, and whether it was clipped or not finite, bool.
    """
    flat = [tf.convert_to_tensor(part) for part in tf.nest.flatten(record)]
    tables = [_FewRows.of(part) for part in flat]
    squares = [tf.reduce_sum(tf.square(tf.cast(table.rows, tf.float64))) for table in tables]
    length, bound = tf.sqrt(tf.add_n(squares)), tf.cast(norm, tf.float64)
    within = length <= bound  # false for NaN
    finite = tf.math.is_finite(length)
    # A factor of exactly 1 leaves an update within the norm unchanged.
    factor = tf.where(within, tf.ones([], tf.float64), _SLACK * bound / length)
    factor, steps = tf.cast(factor, tf.float32), tf.cast(1 / grid, tf.float32)

    def shorten(part: tf.Tensor) -> tf.Tensor:
        scaled = tf.where(finite, factor * part, 0.0) * steps
        return tf.sign(scaled) * tf.floor(tf.abs(scaled)) / steps

    clipped = [table.with_rows(shorten(table.rows)) for table in tables]
    return tf.nest.pack_sequence_as(record, clipped), ~within


class _FewRows(NamedTuple):
    """A tensor, or the rows of a large table that are not zero.

    A client's update of an embedding is zero except for the rows of its own words. Operations that
    keep zeros are computed only on the other rows, and the streaming context adds only these rows.

    Attributes:
      rows: The rows, or the whole tensor.
      indices: Row numbers of the rows, int64[rows, 1]. None for a whole tensor.
      shape: Shape of the tensor.
    """

    rows: tf.Tensor
    indices: tf.Tensor | None
    shape: tf.TensorShape

    @classmethod
    def of(cls, tensor: tf.Tensor) -> "_FewRows":
        """Returns the rows of a large table, or the whole tensor if it is anything else."""
        shape = tensor.shape
        if shape.rank != 2 or (shape.num_elements() or 0) < _LARGE_TABLE:
            return cls(tensor, None, shape)
        # A row with a NaN also counts as not zero.
        indices = tf.where(tf.reduce_any(tf.not_equal(tensor, 0.0), axis=1))
        return cls(tf.gather_nd(tensor, indices), indices, shape)

    def with_rows(self, rows: tf.Tensor) -> tf.Tensor:
        """Returns the tensor with new numbers in the same rows."""
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
          clipping: The clipping of updates.
          noise: The noise on the sum.
          noise_multiplier: Standard deviation of that noise over the clipping norm.
          denominator: Expected cohort size.
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
          norm: Clipping norm of the round, float32.
          record: The client's update.
        """
        # float64 has 53 exact bits. The sum over a cohort needs some of them; these are left.
        bits = 52 - math.ceil(math.log2(max(2.0, _LARGEST_COHORT * self._denominator)))
        grid = tf.maximum(noises.power_of_two(norm) * 2.0**-bits, _FINEST_GRID)
        update, clipped = clip(record, norm, grid)
        return Clipped(update, tf.where(clipped, 0.5, -0.5))

    def zero(self) -> Total:
        """Returns the sums over no clients."""
        zeros = tuple(tf.zeros(s.shape, tf.float64) for s in tf.nest.flatten(self._specs))
        return Total(zeros, tf.zeros([], tf.float32), tf.zeros([], tf.float32))

    def add(self, total: Total, sent: Clipped) -> Total:
        """Adds a client to the sums."""
        parts = zip(total.update, tf.nest.flatten(sent.update), strict=True)
        summed = tuple(t + tf.cast(part, tf.float64) for t, part in parts)
        return Total(summed, total.clients + 1, total.balance + sent.balance)

    def release(
        self, total: Total, state: MeanState
    ) -> tuple[Any, MeanState, "collections.OrderedDict[str, Any]"]:
        """Returns the noisy mean, the next state and the round's measurements.

        The measurements "clipped_share", "noise_norm" and "signal_norm" have no noise. They are for
        simulations only; do not publish them.

        Args:
          total: Sums over the clients of the round.
          state: State before the round, with the key of its noise.
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
        """Noise multiplier of a Gaussian mechanism with the same privacy cost as a round."""
        parts = [dpa.GaussianDpEvent(self._noise_multiplier)]
        if self._clipping.target_quantile is not None:
            # A client changes the centred count by one half.
            parts.append(dpa.GaussianDpEvent(2 * self._clipping.count_stddev))
        return events.noise_multiplier_of(dpa.ComposedDpEvent(parts)) or 0.0


def _norm(parts: list[tf.Tensor]) -> tf.Tensor:
    return tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(part)) for part in parts]))


class ClippedMeanFactory(tff.aggregators.UnweightedAggregationFactory):
    """A TFF aggregator with a `ClippedMean`, for updates of any shapes.

    Its state is a `MeanState`. The key of the state must be set before each round. Its measurements
    are those of `ClippedMean.release`.
    """

    def __init__(
        self,
        clipping: Clipping,
        noise: noises.SumNoise,
        *,
        noise_multiplier: float,
        denominator: float,
        coding: codings.Coding | None = None,
    ) -> None:
        """Initializes the factory. The other arguments are those of `ClippedMean`.

        Args:
          clipping: See there.
          noise: See there.
          noise_multiplier: See there.
          denominator: See there.
          coding: How clients encode their updates; None to send clipped updates as they are. With a
            coding, the server decodes each update and clips it then, whatever the codec did to its
            length. It is trusted anyway, since it adds the noise.

        Raises:
          UserError: If the noise multiplier or the denominator is out of range.
        """
        mechanism_checks.check_noise_multiplier(noise_multiplier)
        mechanism_checks.check_cohort(denominator)
        self._clipping = clipping
        self._noise = noise
        mechanism = names.GAUSSIAN
        if isinstance(noise, noises.TreeNoise):
            mechanism = names.TREE_AGGREGATION
        elif clipping.target_quantile is not None:
            mechanism = names.ADAPTIVE_CLIPPING
        self.coding = coding
        self.properties = properties.configured(mechanism, **(coding.properties if coding else {}))
        self._numbers = {"noise_multiplier": noise_multiplier, "denominator": denominator}

    def create(self, value_type: tff.Type) -> tff.templates.AggregationProcess:
        """Returns the aggregation process for updates of float32 tensors.

        The updates may be `coding.Encoded` already.

        Raises:
          TypeError: If a tensor is not float32.
        """
        specs = codings.specs_of(value_type)
        encode = codings.encoder(self.coding, value_type)
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
            if self.coding is None:
                return mean.prepare(norm, value)
            return Coded(encode(value), norm)

        @tff.tensorflow.computation
        def zero() -> Any:
            return mean.zero()

        sent_type, total_type = prepare.type_signature.result, zero.type_signature.result

        @tff.tensorflow.computation(total_type, sent_type)
        def accumulate(total: Any, sent: Any) -> Any:
            if self.coding is not None:
                update = self.coding.decode(sent.encoded)
                sent = mean.prepare(sent.norm, tf.nest.pack_sequence_as(specs, update))
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
            # Only the norm is sent to clients, never the key.
            norm = tff.federated_broadcast(tff.federated_map(norm_of, state))
            sent = tff.federated_map(prepare, (norm, value))
            total = tff.federated_aggregate(sent, zero(), accumulate, merge, report)
            mean_of_all, new_state, measured = tff.federated_map(release, (total, state))
            return tff.templates.MeasuredProcessOutput(new_state, mean_of_all, measured)

        return tff.templates.AggregationProcess(initialize, next_fn)
