"""Local training as a client work process of TFF, and its measurements."""

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp import errors
from tff_nlp.aggregation.robust import robust_mean
from tff_nlp.learning import (
    attacks,
    canary_update,
    client_batches,
    client_input,
    local_training,
    mixed_ranks,
    optimizers,
    schedules,
)
from tff_nlp.learning.transforms import example_privacy as example_level
from tff_nlp.learning.transforms import transform
from tff_nlp.privacy import distributed_mean
from tff_nlp.tasks import task as tasks

Update = tuple[tf.Tensor, ...]
# (update, sums of the client) -> the values that the client sends, with the shapes of the update.
Send = Callable[[Update, Mapping[str, tf.Tensor]], Update]

EXAMPLES, UNIFORM = "examples", "uniform"
WEIGHTINGS = (EXAMPLES, UNIFORM)


@dataclasses.dataclass(frozen=True)
class LocalWork:
    """How clients train.

    Attributes:
      optimizer: The client's optimizer.
      schedule: Schedule of its learning rate over rounds.
      weighting: "examples" weights a client's update by the number of examples (or tokens) that it
        trained on; "uniform" gives every client the weight 1.
      transforms: Transforms of each gradient, in this order.
      send: Function that computes what a client sends from its update and its sums; None to send
        the update, which is the initial minus the final weights.
      example_privacy: Clipping and noise of DP-SGD; None for training without DP-SGD.
      canaries: The canaries of an audit; None without an audit.
      ranks: The low-rank factors of clients of different ranks; None if all ranks are equal.
      attack: What attackers send, in a simulation of attacks; None without attackers.
      seed: Seed of the dropout, together with the round number and the client's data.
    """

    optimizer: optimizers.ClientOptimizer = optimizers.ClientOptimizer()
    schedule: schedules.LinearSchedule = schedules.LinearSchedule()
    weighting: str = EXAMPLES
    transforms: Sequence[transform.GradientTransform] = ()
    send: Send | None = None
    example_privacy: example_level.ExamplePrivacy | None = None
    canaries: canary_update.Canaries | None = None
    ranks: mixed_ranks.MixedRanks | None = None
    attack: attacks.Attack | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.weighting not in WEIGHTINGS:
            raise errors.UserError(
                f"{errors.setting('weighting', self.weighting)}: choose one of "
                f"{', '.join(WEIGHTINGS)}"
            )


def build_client_work(
    task: tasks.Task, local: LocalWork, *, keyed: bool = False
) -> tff.learning.templates.ClientWorkProcess:
    """Builds the client work of one round.

    Its state is the round number, which is broadcast with the weights. The learning rate and the
    dropout seeds derive from it.

    Args:
      task: The task.
      local: How clients train.
      keyed: Whether clients add the noise, and the aggregator takes `KeyedUpdate`s. The
        measurements are then zeros, because they would have no noise.

    Returns:
      The process. Its measurements under "train" are those of `summarize`.
    """
    model_type = task.weights_type()
    data_type = client_input.client_type(task.batch_spec, extras(local, keyed=keyed))

    @tff.tensorflow.computation(np.int32, model_type, data_type)
    def work(round_number: Any, weights: Any, client: Any) -> Any:
        value, weight, sums = result(task, local, round_number, weights, client)
        if keyed:
            value, weight = distributed_mean.KeyedUpdate(noise_key(client), value), tf.ones([])
            sums = tf.nest.map_structure(tf.zeros_like, sums)
        return tff.learning.templates.ClientResult(value, weight), sums

    return build_process(task, work)


def result(
    task: tasks.Task, local: LocalWork, round_number: tf.Tensor, weights: Any, client: Any
) -> tuple[Any, tf.Tensor, Mapping[str, tf.Tensor]]:
    """Returns what a client sends to the aggregator, its weight, and the client's sums.

    Args:
      task: The task.
      local: How clients train.
      round_number: int32, number of the round.
      weights: The weights to begin with.
      client: The client's input, with the values of `extras`.
    """
    deltas, sums = update(task, local, round_number, weights, client)
    deltas = sent(local, deltas, sums, client)
    weight = weight_of(sums, local.weighting)
    if local.attack is not None and local.attack.colludes:
        return robust_mean.MarkedUpdate(attacks.attacks(client), deltas), weight, sums
    return deltas, weight, sums


def extras(local: LocalWork, *, keyed: bool = False) -> dict[str, Any]:
    """Returns the specs of the values that a client needs in addition to its batches.

    Args:
      local: How clients train.
      keyed: Whether clients add the noise of the aggregator.
    """
    specs: dict[str, Any] = {}
    # If clients draw noise, they need a key. The type then refuses data without one.
    if keyed or local.example_privacy is not None:
        specs[client_input.NOISE_KEY] = client_input.KEY_SPEC
    if local.canaries is not None:
        specs[client_input.CANARY] = client_input.CANARY_SPEC
    if local.ranks is not None:
        specs[client_input.RANK] = client_input.RANK_SPEC
    if local.attack is not None:
        specs[client_input.ATTACKS] = client_input.ATTACKS_SPEC
    return specs


def sent(local: LocalWork, update: Update, sums: Mapping[str, tf.Tensor], client: Any) -> Update:
    """Returns what a client sends.

    Args:
      local: How clients train.
      update: The client's update.
      sums: The client's sums, from `local_training.train`.
      client: The client's input.
    """
    if local.send is not None:
        update = local.send(update, sums)
    return update if local.attack is None else local.attack.changed(update, client)


def noise_key(client: Any) -> tf.Tensor:
    """Returns the key of a client's noise, uint32[8]."""
    # Without a key in the data, the key is all zeros. All noise is then NaN.
    return client_input.value_of(client, client_input.NOISE_KEY, tf.zeros([8], tf.uint32))


def build_process(
    task: tasks.Task, work: tff.Computation
) -> tff.learning.templates.ClientWorkProcess:
    """Builds the client work process of a client's computation.

    Args:
      task: The task.
      work: Computation (round number, weights, client's input) -> `ClientResult`, the client's
        sums.

    Returns:
      The process. Its state is the round number. Its measurements under "train" are those of
      `summarize`.
    """
    _, model_type, data_type = work.type_signature.parameter
    finalize = build_summary(task, work.type_signature.result[1])

    @tff.federated_computation
    def initialize() -> Any:
        return tff.federated_eval(first_round, tff.SERVER)

    @tff.federated_computation(
        initialize.type_signature.result,
        tff.FederatedType(model_type, tff.CLIENTS),
        tff.FederatedType(data_type, tff.CLIENTS),
    )
    def next_fn(state: Any, weights: Any, client_data: Any) -> Any:
        result, sums = tff.federated_map(
            work, (tff.federated_broadcast(state), weights, client_data)
        )
        train = tff.federated_map(finalize, tff.federated_sum(sums))
        measurements = tff.federated_zip(collections.OrderedDict(train=train))
        new_state = tff.federated_map(next_round, state)
        return tff.templates.MeasuredProcessOutput(new_state, result, measurements)

    return tff.learning.templates.ClientWorkProcess(initialize, next_fn)


@tff.tensorflow.computation
def first_round() -> Any:
    """Returns the number of the first round, 0."""
    return tf.zeros([], tf.int32)


@tff.tensorflow.computation(np.int32)
def next_round(round_number: Any) -> Any:
    """Returns the number of the next round."""
    return round_number + 1


def weight_of(sums: Mapping[str, tf.Tensor], weighting: str) -> tf.Tensor:
    """Returns the weight of a client's update, float32. It is 0 if the update was not finite.

    Args:
      sums: The client's sums, from `local_training.train`.
      weighting: One of `WEIGHTINGS`.
    """
    return sums["weight_sum"] if weighting == EXAMPLES else 1.0 - sums["non_finite"]


def round_seed(seed: int, round_number: tf.Tensor) -> tf.Tensor:
    """Returns the seed of a round's dropout, int32[2]."""
    base = tf.constant([seed & 0x7FFFFFFF, (seed >> 31) & 0x7FFFFFFF], tf.int32)
    return tf.random.experimental.stateless_fold_in(base, round_number)


def update(
    task: tasks.Task,
    local: LocalWork,
    round_number: tf.Tensor,
    weights: Any,
    client: Any,
) -> tuple[tuple[tf.Tensor, ...], Mapping[str, tf.Tensor]]:
    """Returns the update and the sums of a client (see `local_training.train`).

    Args:
      task: The task.
      local: How clients train.
      round_number: int32, number of the round.
      weights: The weights to begin with, `trainable` and `non_trainable`.
      client: The client's input, with the values of `extras`.
    """
    trainable, frozen = tuple(weights.trainable), tuple(weights.non_trainable)
    if local.ranks is not None:
        largest = tf.constant(local.ranks.largest)
        rank = client_input.value_of(client, client_input.RANK, largest)
        trainable = local.ranks.narrow(trainable, rank)
    batches = client_batches.read(task, client_input.batches_of(client))
    gradient_of: local_training.GradientOf = local_training.batch_gradient
    if local.example_privacy is not None:
        gradient_of = example_level.private_gradient(task, noise_key(client), local.example_privacy)

    def train() -> tuple[tuple[tf.Tensor, ...], Mapping[str, tf.Tensor]]:
        return local_training.train(
            task,
            local.optimizer,
            trainable,
            frozen,
            batches,
            learning_rate=local.optimizer.learning_rate * local.schedule.factor(round_number),
            round_seed=round_seed(local.seed, round_number),
            transform=transform.chain(local.transforms),
            gradient_of=gradient_of,
            # With example-level privacy, all rows of a table get noise. Otherwise the rows without
            # noise would reveal which words the client does not have.
            sparse=local.example_privacy is None,
        )

    if local.canaries is None:
        return train()
    index = client_input.value_of(client, client_input.CANARY, tf.constant(-1))
    canary_direction = local.canaries.update

    def send_canary() -> tuple[tuple[tf.Tensor, ...], Mapping[str, tf.Tensor]]:
        return canary_direction(index, trainable), local_training.nothing_trained(task)

    return tf.cond(index >= 0, send_canary, train)


def build_summary(task: tasks.Task, sums_type: tff.Type) -> tff.Computation:
    """Returns `summarize` as a TFF computation of the cohort's sums."""

    @tff.tensorflow.computation(sums_type)
    def summary(sums: Any) -> Any:
        return summarize(task, sums)

    return summary


def summarize(task: tasks.Task, sums: Mapping[str, Any]) -> "collections.OrderedDict[str, Any]":
    """Returns the training metrics of a round, computed from sums over the cohort.

    Args:
      task: The task.
      sums: The clients' sums from `local_training.train`, added up.

    Returns:
      The task's metrics and "loss": means over the examples, each measured when it was trained on,
      while the model changes. "num_examples" and "num_batches" (int64): an example counts once per
      local epoch. "non_finite_clients": number of clients that were left out because their loss or
      update overflowed. "update_norm": root of the sum of the clients' squared update norms.
    """
    return collections.OrderedDict(
        loss=tf.math.divide_no_nan(sums["loss_sum"], sums["weight_sum"]),
        **task.finalize(sums),
        non_finite_clients=tf.cast(sums["non_finite"], tf.int32),
        num_batches=sums["num_batches"],
        num_examples=sums["num_examples"],
        update_norm=tf.sqrt(sums["update_norm_squared"]),
    )
