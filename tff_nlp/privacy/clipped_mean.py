"""The mean of clipped updates with noise, as a TensorFlow Privacy query.

The denominator is fixed (the expected cohort), so that the noise does not depend on who came, and
the clipping norm may follow a quantile of the updates' norms (Andrew et al. 2021, algorithm 1).
"""

import collections
import dataclasses
from typing import Any, NamedTuple

import dp_accounting as dpa
import tensorflow as tf
import tensorflow_federated as tff
import tensorflow_privacy as tfp

from tff_nlp.errors import UserError
from tff_nlp.privacy import events
from tff_nlp.privacy import noise as noises


@dataclasses.dataclass(frozen=True)
class Clipping:
    """The L2 norm to which each update is clipped.

    Attributes:
      norm: The norm, of the first round where it adapts.
      target_quantile: Where the norm adapts: the share of the clients that shall not be clipped
        (gamma of Andrew et al. 2021); None for a fixed norm.
      learning_rate: eta_C of the same paper, of the norm's geometric steps.
      count_stddev: Standard deviation of the noise on the count of unclipped clients.
      seed: (int, int), each below 2^31, of that noise.
    """

    norm: float
    target_quantile: float | None = None
    learning_rate: float = 0.2
    count_stddev: float = 0.0
    seed: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if not 0 < self.norm < float("inf"):
            raise UserError(f"--clipping_norm={self.norm:g}: must be above 0 and finite")
        if self.target_quantile is not None and not 0 < self.target_quantile < 1:
            raise UserError(f"--target_quantile={self.target_quantile:g}: must be between 0 and 1")
        if not 0 < self.learning_rate < float("inf"):
            raise UserError(
                f"--clipping_learning_rate={self.learning_rate:g}: must be above 0 and finite"
            )

    def next(self, norm: tf.Tensor, clipped: tf.Tensor, cohort: float, index: tf.Tensor) -> Any:
        """Returns the next round's norm.

        Args:
          norm: float32, this round's.
          clipped: float32, how far the clipped clients outnumber the unclipped, halved: the sum of
            +1/2 for each clipped client and -1/2 for each other one.
          cohort: The expected cohort.
          index: int32, this round's number.
        """
        if self.target_quantile is None:
            return norm
        seed = tf.random.experimental.stateless_fold_in(tf.constant(self.seed, tf.int32), index)
        noisy = clipped + self.count_stddev * tf.random.stateless_normal([], seed)
        unclipped_share = 0.5 - noisy / cohort
        return norm * tf.exp(-self.learning_rate * (unclipped_share - self.target_quantile))


class MeanState(NamedTuple):
    """State of `ClippedMeanQuery` between rounds.

    Attributes:
      clipping_norm: float32.
      index: int32, rounds so far.
      noise: State of the noise.
      clipped_share: float32, of the last round's clients, how many were clipped. It has no noise:
        it is for whoever runs a simulation, not for publication.
      noise_norm: float32, L2 norm of the last round's noise on the mean; not for publication.
      signal_norm: float32, L2 norm of the last round's mean without the noise; likewise.
      last_norm: float32, the last round's clipping norm.
    """

    clipping_norm: Any
    index: Any
    noise: Any
    clipped_share: Any
    noise_norm: Any
    signal_norm: Any
    last_norm: Any


class _Sample(NamedTuple):
    """What is summed over clients: updates, clipped ones, and half of clipped minus unclipped."""

    update: Any
    clients: Any
    balance: Any


class ClippedMeanQuery(tfp.SumAggregationDPQuery):
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
        """Initializes the query.

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

    def initial_global_state(self) -> MeanState:
        """Returns the state before the first round."""
        return MeanState(
            tf.constant(self._clipping.norm, tf.float32),
            tf.zeros([], tf.int32),
            self._noise.initial_state(self._specs),
            tf.zeros([], tf.float32),
            tf.zeros([], tf.float32),
            tf.zeros([], tf.float32),
            tf.constant(self._clipping.norm, tf.float32),
        )

    def derive_sample_params(self, global_state: MeanState) -> Any:
        """Returns what clients are sent: the clipping norm."""
        return global_state.clipping_norm

    def initial_sample_state(self, template: Any = None) -> _Sample:
        """Returns the empty sum."""
        del template  # as the specs
        zeros = tf.nest.map_structure(lambda s: tf.zeros(s.shape, s.dtype), self._specs)
        return _Sample(zeros, tf.zeros([], tf.float32), tf.zeros([], tf.float32))

    def preprocess_record(self, params: Any, record: Any) -> _Sample:
        """Clips a client's update to the norm."""
        flat = tf.nest.flatten(record)
        norm = tf.linalg.global_norm(flat)
        # A factor of exactly 1 leaves an update within the norm as it is, bit for bit.
        factor = tf.where(norm > params, params / norm, 1.0)
        clipped = tf.nest.pack_sequence_as(record, [factor * part for part in flat])
        return _Sample(clipped, tf.ones([]), tf.where(norm > params, 0.5, -0.5))

    def get_noised_result(
        self, sample_state: _Sample, global_state: MeanState
    ) -> tuple[Any, MeanState, dpa.DpEvent]:
        """Returns the noisy mean, the next state and what it cost."""
        stddev = self._noise_multiplier * global_state.clipping_norm
        if self._noise_multiplier:
            noise, noise_state = self._noise.next(global_state.noise, self._specs, stddev)
            total = tf.nest.map_structure(tf.add, sample_state.update, noise)
            noise_norm = tf.linalg.global_norm(tf.nest.flatten(noise)) / self._denominator
        else:
            total, noise_state = sample_state.update, global_state.noise
            noise_norm = tf.zeros([])
        mean = tf.nest.map_structure(lambda part: part / self._denominator, total)
        share = 0.5 + tf.math.divide_no_nan(sample_state.balance, sample_state.clients)
        new_state = MeanState(
            self._clipping.next(
                global_state.clipping_norm,
                sample_state.balance,
                self._denominator,
                global_state.index,
            ),
            global_state.index + 1,
            noise_state,
            tf.where(sample_state.clients > 0, share, 0.0),
            noise_norm,
            tf.linalg.global_norm(tf.nest.flatten(sample_state.update)) / self._denominator,
            global_state.clipping_norm,
        )
        return mean, new_state, dpa.GaussianDpEvent(self.cost)

    @property
    def cost(self) -> float:
        """Noise multiplier of the one Gaussian mechanism that costs as much as a round."""
        parts = [dpa.GaussianDpEvent(self._noise_multiplier)]
        if self._clipping.target_quantile is not None:
            # Centred, a client moves the count by one half.
            parts.append(dpa.GaussianDpEvent(2 * self._clipping.count_stddev))
        return events.noise_multiplier_of(dpa.ComposedDpEvent(parts)) or 0.0

    def derive_metrics(self, global_state: MeanState) -> collections.OrderedDict:
        """Returns what the last round measured."""
        return collections.OrderedDict(
            clipped_share=global_state.clipped_share,
            clipping_norm=global_state.last_norm,
            noise_norm=global_state.noise_norm,
            signal_norm=global_state.signal_norm,
        )


class ClippedMeanFactory(tff.aggregators.UnweightedAggregationFactory):
    """TFF's aggregator of a `ClippedMeanQuery`, whose noise takes the shapes of what comes."""

    def __init__(
        self,
        clipping: Clipping,
        noise: noises.SumNoise,
        *,
        noise_multiplier: float,
        denominator: float,
    ) -> None:
        """Initializes the factory; arguments as for `ClippedMeanQuery`."""
        self._clipping = clipping
        self._noise = noise
        self._numbers = {"noise_multiplier": noise_multiplier, "denominator": denominator}

    def create(self, value_type: tff.Type) -> tff.templates.AggregationProcess:
        """Returns the aggregation process for updates of a type."""
        query = ClippedMeanQuery(
            self._clipping,
            self._noise,
            specs=tff.types.type_to_tf_tensor_specs(value_type),
            **self._numbers,
        )
        return tff.aggregators.DifferentiallyPrivateFactory(query).create(value_type)
