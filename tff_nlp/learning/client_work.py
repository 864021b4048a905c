"""The client update as a TFF client-work process."""

import collections
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp import errors
from tff_nlp.learning import client_update, schedules
from tff_nlp.models import classifier
from tff_nlp.privacy import distributed_mean

WEIGHTINGS = ("examples", "uniform")

# int32[batch, length] padded token ids and int32[batch] labels, both dynamic.
BATCH_SPEC = collections.OrderedDict(
    x=tf.TensorSpec([None, None], tf.int32), y=tf.TensorSpec([None], tf.int32)
)
# The same with the key of the noise that the client adds: the same in each batch of a round.
KEYED_BATCH_SPEC = collections.OrderedDict(noise_key=tf.TensorSpec([8], tf.uint32), **BATCH_SPEC)


def weights_type(model: classifier.Classifier) -> tff.StructWithPythonType:
    """Returns the type of the model's weights, `tff.learning.models.ModelWeights` of tuples."""
    return tff.types.tensorflow_to_type(tff.learning.models.ModelWeights(*model.weight_specs()))


def build_client_work(
    model: classifier.Classifier,
    training: client_update.LocalTraining,
    *,
    weighting: str = "examples",
    schedule: schedules.LinearSchedule | None = None,
    seed: int = 0,
    keyed: bool = False,
) -> tff.learning.templates.ClientWorkProcess:
    """Builds the client work of one round.

    Its state, broadcast with the weights, is the round number and nothing else: learning rate
    and dropout seeds derive from it.

    Args:
      model: The classifier.
      training: How a client trains.
      weighting: "examples" weighs a client's update by the examples it trained on, "uniform" gives
        every client the weight 1.
      schedule: Of the learning rate over rounds; none is constant.
      seed: Of dropout, together with the round number and the client's data.
      keyed: Whether the aggregator adds noise at the clients, and takes `KeyedUpdate`s. Nothing
        else is reported then, since measurements have no noise: sums are zeros.

    Returns:
      The process; its measurements under "train" are sums over the cohort, see
      `summarize_training`.

    Raises:
      UserError: If the weighting is unknown.
    """
    if weighting not in WEIGHTINGS:
        raise errors.UserError(f"--weighting={weighting}: choose one of {', '.join(WEIGHTINGS)}")
    schedule = schedule or schedules.LinearSchedule()
    update = client_update.build_client_update(model, training)
    model_type = weights_type(model)
    # Ordinary batches do not fit where clients draw noise: only data with a key do.
    spec = KEYED_BATCH_SPEC if keyed or training.example_privacy is not None else BATCH_SPEC
    data_type = tff.SequenceType(tff.types.tensorflow_to_type(spec))
    base_seed = [seed & 0x7FFFFFFF, (seed >> 31) & 0x7FFFFFFF]

    @tff.tensorflow.computation(np.int32, model_type, data_type)
    def work(round_number: Any, weights: Any, dataset: Any) -> Any:
        rate = training.optimizer.learning_rate * schedule.factor(round_number)
        round_seed = tf.random.experimental.stateless_fold_in(
            tf.constant(base_seed, tf.int32), round_number
        )
        deltas, sums, noise_key = update(
            tuple(weights.trainable), tuple(weights.non_trainable), dataset, rate, round_seed
        )
        if keyed:
            nothing = tf.nest.map_structure(tf.zeros_like, sums)
            result = distributed_mean.KeyedUpdate(noise_key, deltas)
            return tff.learning.templates.ClientResult(result, tf.ones([])), nothing
        weight = tf.cast(sums["num_examples"], tf.float32)
        if weighting == "uniform":
            weight = 1.0 - sums["non_finite"]
        return tff.learning.templates.ClientResult(deltas, weight), sums

    sums_type = work.type_signature.result[1]

    @tff.tensorflow.computation(sums_type)
    def finalize(sums: Any) -> Any:
        return summarize_training(sums)

    @tff.tensorflow.computation(np.int32)
    def advance(round_number: Any) -> Any:
        return round_number + 1

    @tff.federated_computation
    def initialize() -> Any:
        return tff.federated_eval(
            tff.tensorflow.computation(lambda: tf.zeros([], tf.int32)), tff.SERVER
        )

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
        new_state = tff.federated_map(advance, state)
        return tff.templates.MeasuredProcessOutput(new_state, result, measurements)

    return tff.learning.templates.ClientWorkProcess(initialize, next_fn)


def summarize_training(sums: collections.OrderedDict) -> collections.OrderedDict:
    """Returns what a round reports of its clients' training, from sums over the cohort.

    Returns:
      "accuracy" and "loss", means over examples as they were trained on (the model changes
      meanwhile); "num_examples" and "num_batches" (int64), with repetitions over local epochs;
      "non_finite_clients", how many clients' losses or updates overflowed and were left out; and
      "update_norm", the root of the summed squares of the clients' update norms.
    """
    examples = tf.cast(sums["num_examples"], tf.float32)
    return collections.OrderedDict(
        accuracy=tf.math.divide_no_nan(sums["num_correct"], examples),
        loss=tf.math.divide_no_nan(sums["loss_sum"], examples),
        non_finite_clients=tf.cast(sums["non_finite"], tf.int32),
        num_batches=sums["num_batches"],
        num_examples=sums["num_examples"],
        update_norm=tf.sqrt(sums["update_norm_squared"]),
    )
