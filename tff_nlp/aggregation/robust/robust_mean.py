"""A TFF aggregator that holds the updates of a round and combines them by a robust rule.

A sum cannot tell honest updates from others. So the aggregator keeps every update of the round, and
its memory grows with the cohort. All clients count the same, because a client could claim any
number of examples.
"""

import collections
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp import errors
from tff_nlp.aggregation.compression import coding as codings
from tff_nlp.aggregation.robust import (
    bulyan,
    centered_clipping,
    coordinates,
    geometric_median,
    krum,
    names,
)
from tff_nlp.aggregation.robust import stack as stacks
from tff_nlp.privacy import properties

# Default of `max_bytes`: 4 GB.
MAX_BYTES = 4 * 10**9
# Copies of the updates that the memory must hold: in the lanes, joined, and at the server.
_COPIES = 4

_SIMPLE = {
    names.MEAN: stacks.mean,
    names.MEDIAN: coordinates.median,
    names.GEOMETRIC_MEDIAN: geometric_median.geometric_median,
}
_COUNTING = {
    names.KRUM: krum.krum,
    names.MULTI_KRUM: krum.multi_krum,
    names.TRIMMED_MEAN: coordinates.trimmed_mean,
    names.BULYAN: bulyan.bulyan,
}


class MarkedUpdate(NamedTuple):
    """The input of the aggregation at a client, in a simulation with colluding attackers.

    Attributes:
      attacks: Whether the client is an attacker, bool.
      update: The update.
    """

    attacks: Any
    update: Any


class RobustMeanFactory(tff.aggregators.WeightedAggregationFactory):
    """A TFF aggregator for one of the rules of `names.COMPARING`, or for the plain mean.

    The weight of a client only says whether it counts: weight 0 marks an update that was not
    finite. The state is the result of the last round for centered clipping, and empty otherwise.
    """

    def __init__(
        self,
        rule: str,
        *,
        attackers: int = 0,
        radius: float | None = None,
        clients: int = 1,
        max_bytes: int = MAX_BYTES,
        little_is_enough: float | None = None,
        coding: codings.Coding | None = None,
    ) -> None:
        """Initializes the factory.

        Args:
          rule: One of `names.COMPARING`, or "mean".
          attackers: The number f of attackers to withstand. If a round has too few clients for it,
            the largest possible number is taken.
          radius: Radius of centered clipping; None for the median distance.
          clients: Number of clients that a round is expected to have.
          max_bytes: Maximum number of bytes for four copies of the updates of so many clients.
          little_is_enough: If given, clients send `MarkedUpdate`s, and the updates of attackers are
            replaced by mean - z * deviation of the honest ones, coordinate by coordinate, with this
            z (Baruch et al. 2019, "A Little Is Enough", algorithm 3). None for no such attack.
          coding: How clients encode their updates; None to send them as they are. The rule compares
            the decoded updates.

        Raises:
          UserError: If there is no such rule.
        """
        if rule not in (names.MEAN, *names.COMPARING):
            raise errors.UserError(
                f"{errors.setting('aggregator', rule)}: choose one of {', '.join(names.COMPARING)}"
            )
        self.rule = rule
        self.attackers = attackers
        self.radius = radius
        self.clients = clients
        self.max_bytes = max_bytes
        self.little_is_enough = little_is_enough
        self.coding = coding
        self.properties = properties.configured(
            robust=rule, **(coding.properties if coding else {})
        )

    def create(
        self, value_type: tff.Type, weight_type: tff.Type
    ) -> tff.templates.AggregationProcess:
        """Returns the aggregation process for updates that are tuples of float32 tensors.

        The updates may be `coding.Encoded` already.

        Raises:
          UserError: If the updates of a round would need more memory than allowed.
        """
        marked = self.little_is_enough is not None
        update_type = value_type.update if marked else value_type
        specs = tuple(codings.specs_of(update_type))
        self._check_memory(specs)
        encode_update = codings.encoder(self.coding, update_type)
        decode = self.coding.decode if self.coding else tuple
        kept_type = tff.types.tensorflow_to_type(
            (
                tuple(tf.TensorSpec([None, *spec.shape], spec.dtype) for spec in specs),
                tf.TensorSpec([None], tf.bool),
            )
        )
        remembers = self.rule == names.CENTERED_CLIPPING

        @tff.tensorflow.computation
        def none_kept() -> Any:
            return tuple(tf.zeros([0, *spec.shape]) for spec in specs), tf.zeros([0], tf.bool)

        @tff.tensorflow.computation(value_type)
        def encode(value: Any) -> Any:
            if marked:
                return MarkedUpdate(value.attacks, encode_update(value.update))
            return encode_update(value)

        sent_type = tff.StructType([encode.type_signature.result, weight_type])

        @tff.tensorflow.computation(kept_type, sent_type)
        def keep(kept: Any, sent: Any) -> Any:
            stack, attacks = kept
            value, weight = sent
            update, attacker = (value.update, value.attacks) if marked else (value, False)
            update = decode(update)
            counts = tf.cast(weight, tf.float32) > 0
            rows = tf.cast(counts, tf.int32)
            grown = tuple(
                tf.concat([old, tf.repeat(part[tf.newaxis], rows, axis=0)], 0)
                for old, part in zip(stack, update, strict=True)
            )
            mark = tf.repeat(tf.convert_to_tensor(attacker)[tf.newaxis], rows, axis=0)
            return grown, tf.concat([attacks, mark], 0)

        @tff.tensorflow.computation(kept_type, kept_type)
        def join(one: Any, other: Any) -> Any:
            return tf.nest.map_structure(lambda a, b: tf.concat([a, b], 0), one, other)

        @tff.tensorflow.computation(kept_type)
        def report(kept: Any) -> Any:
            return kept

        previous_type = tff.types.tensorflow_to_type(specs if remembers else ())

        @tff.tensorflow.computation
        def first() -> Any:
            return tuple(tf.zeros(spec.shape) for spec in specs) if remembers else ()

        @tff.tensorflow.computation(previous_type, kept_type)
        def combine(previous: Any, kept: Any) -> Any:
            result, count = self._combine(tuple(previous), tuple(kept[0]), kept[1], specs)
            return result, result if remembers else (), count

        @tff.federated_computation
        def initialize() -> Any:
            return tff.federated_eval(first, tff.SERVER)

        @tff.federated_computation(
            initialize.type_signature.result,
            tff.FederatedType(value_type, tff.CLIENTS),
            tff.FederatedType(weight_type, tff.CLIENTS),
        )
        def next_fn(state: Any, value: Any, weight: Any) -> Any:
            sent = tff.federated_zip((tff.federated_map(encode, value), weight))
            kept = tff.federated_aggregate(sent, none_kept(), keep, join, report)
            combined = tff.federated_map(combine, (state, kept))
            measured = tff.federated_zip(collections.OrderedDict(compared_updates=combined[2]))
            return tff.templates.MeasuredProcessOutput(combined[1], combined[0], measured)

        return tff.templates.AggregationProcess(initialize, next_fn)

    def _check_memory(self, specs: Any) -> None:
        update = sum(spec.shape.num_elements() * 4 for spec in specs)
        needed = _COPIES * self.clients * update
        if needed > self.max_bytes:
            raise errors.UserError(
                f"`aggregator`={self.rule}: it holds {_COPIES} copies of all updates of a round, "
                f"{self.clients} of {update / 1e6:,.1f} MB or {needed / 1e9:,.1f} GB in all, and "
                f"`max_update_gigabytes`={self.max_bytes / 1e9:g}; take fewer `clients_per_round`, "
                "a smaller `trainable`, or a higher limit"
            )

    def _combine(
        self, previous: stacks.Update, stack: stacks.Stack, attacks: tf.Tensor, specs: Any
    ) -> tuple[stacks.Update, tf.Tensor]:
        """Returns the combined update, zero without clients, and the number of updates."""
        if self.little_is_enough is not None:
            stack = _with_little_changes(stack, attacks, self.little_is_enough)
        count = tf.size(attacks)
        zeros = tuple(tf.zeros(spec.shape) for spec in specs)
        result = tf.cond(count > 0, lambda: self._apply(stack, previous, count), lambda: zeros)
        shaped = zip(result, specs, strict=True)
        return tuple(tf.ensure_shape(part, spec.shape) for part, spec in shaped), count

    def _apply(
        self, stack: stacks.Stack, previous: stacks.Update, count: tf.Tensor
    ) -> stacks.Update:
        if self.rule == names.CENTERED_CLIPPING:
            return centered_clipping.centered_clipping(stack, previous, self.radius)
        if self.rule in _SIMPLE:
            return _SIMPLE[self.rule](stack)
        most = names.most_attackers(self.rule, count)
        return _COUNTING[self.rule](stack, tf.minimum(most, np.int32(self.attackers)))


def _with_little_changes(stack: stacks.Stack, attacks: tf.Tensor, strength: float) -> stacks.Stack:
    """Returns the updates in which those of attackers are mean - strength * deviation."""
    honest = tf.boolean_mask(tf.range(tf.size(attacks)), ~attacks)

    def attacked(part: tf.Tensor) -> tf.Tensor:
        of_honest = tf.gather(part, honest)
        value = tf.reduce_mean(of_honest, 0) - strength * tf.math.reduce_std(of_honest, 0)
        mask = tf.reshape(attacks, [-1] + [1] * (part.shape.rank - 1))
        return tf.where(mask, value[tf.newaxis], part)

    some = tf.size(honest) > 0
    return tf.cond(some, lambda: tuple(attacked(p) for p in stack), lambda: tuple(stack))
