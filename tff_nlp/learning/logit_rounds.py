"""Rounds in which clients send their outputs on public texts instead of weights.

FedMD and DS-FL are such rounds. They differ in what a client sends of its logits, and in what all
models learn from the mean.
"""

import collections
from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp import errors
from tff_nlp.learning import client_input, client_work, composition, distillation, stateful
from tff_nlp.privacy import distributed_mean
from tff_nlp.tasks import task as tasks

# Logits, float32[texts, categories] -> what a client sends of them, with the same shape.
Share = Callable[[tf.Tensor], tf.Tensor]
# The mean of what clients sent by `distillation.to_send` -> targets, see `distillation.targets`.
Targets = Callable[[tf.Tensor], tf.Tensor]


def logit_rounds(
    task: tasks.Task,
    local: client_work.LocalWork | None,
    *,
    public: distillation.PublicTexts,
    learning: distillation.Distillation | None,
    aggregator: composition.Aggregator | None,
    allow_dp_mismatch: bool,
    algorithm: str,
    share: Share,
    targets: Targets,
) -> stateful.StatefulProcess:
    """Builds the process. Each client keeps a model of its own, which is never sent.

    In a round, a client receives the targets of the last round, and learns from them on the public
    texts. Then it takes its local steps. It sends its outputs on the public texts. The server
    computes the new targets from their mean, and its own model learns from them. Before its first
    round, a client's model is the initial model, which it receives once.

    A client sends and receives 4 bytes for each text and category, whatever the size of its model.

    Args:
      task: The task, with `categories`.
      local: How clients train. `weighting` says how much the outputs of each client weigh.
      public: The public texts.
      learning: How clients and server learn from the targets; None for SGD and one pass.
      aggregator: Aggregator of the clients' outputs. They are one update of a client, see
        `distillation.to_send`.
      allow_dp_mismatch: See `fed_avg`.
      algorithm: Name of the algorithm, one that `privacy.contract` knows.
      share: What a client sends of its logits.
      targets: What all models learn from the mean.

    Returns:
      The process. Its model is the server's.

    Raises:
      UserError: If the task has no categories, if settings and mechanism are not compatible, or if
        clients should be canaries, because a canary sends a direction of weights.
    """
    local = local or client_work.LocalWork()
    learning = learning or distillation.Distillation()
    distillation.check(task, algorithm)
    if local.canaries is not None:
        raise errors.UserError(
            f"`audit_canaries`: a canary sends a direction of weights, and with "
            f"`algorithm`={algorithm} no weights are sent"
        )
    conduct = composition.check(
        task, local, aggregator, algorithm=algorithm, allow_dp_mismatch=allow_dp_mismatch
    )
    keyed = composition.keyed(aggregator)
    specs = task.weight_specs()[0]
    matrix = tf.TensorSpec([len(public), task.categories], tf.float32)
    settings_type = tff.types.tensorflow_to_type((tf.TensorSpec([], tf.int32), matrix))
    work = _build_work(task, local, learning, public, settings_type, keyed=keyed, share=share)
    client_type = work.type_signature.parameter[2]
    update_type, weight_type, sums_type, _ = work.type_signature.result
    outputs = composition.weighted(aggregator).create(update_type, weight_type)
    model_type = tff.types.tensorflow_to_type(_server_weights(*task.weight_specs()))
    mean_type = outputs.next.type_signature.result.result.member
    finish = _build_finish(
        task, learning, public, local.seed, (settings_type, model_type, mean_type), targets
    )
    summarize = client_work.build_summary(task, sums_type)
    nan_weights = composition.no_weights(model_type)

    @tff.tensorflow.computation
    def first() -> Any:
        return tf.zeros([], tf.int32), tf.zeros(matrix.shape)

    @tff.tensorflow.computation(model_type)
    def once(weights: Any) -> Any:
        return tff.learning.models.ModelWeights((), tuple(weights.non_trainable))

    @tff.federated_computation
    def initialize() -> Any:
        return tff.federated_zip(
            tff.learning.templates.LearningAlgorithmState(
                tff.federated_eval(nan_weights, tff.SERVER),
                tff.federated_value((), tff.SERVER),
                tff.federated_eval(first, tff.SERVER),
                outputs.initialize(),
                tff.federated_value((), tff.SERVER),
            )
        )

    @tff.federated_computation(
        initialize.type_signature.result, tff.FederatedType(client_type, tff.CLIENTS)
    )
    def next_fn(state: Any, clients: Any) -> Any:
        kept_once = tff.federated_map(once, state.global_model_weights)
        sent = tff.federated_map(
            work,
            (
                tff.federated_broadcast(state.client_work),
                tff.federated_broadcast(kept_once),
                clients,
            ),
        )
        update, weight, sums, kept = (sent[number] for number in range(4))
        joined = outputs.next(state.aggregator, update, weight)
        trained = tff.federated_map(summarize, tff.federated_sum(sums))
        settings, weights, measured = tff.federated_map(
            finish, (state.client_work, state.global_model_weights, joined.result)
        )
        new_state = tff.federated_zip(
            tff.learning.templates.LearningAlgorithmState(
                weights, state.distributor, settings, joined.state, state.finalizer
            )
        )
        metrics = tff.federated_zip(
            collections.OrderedDict(
                client_work=tff.federated_zip(collections.OrderedDict(train=trained)),
                aggregator=joined.measurements,
                finalizer=measured,
            )
        )
        return stateful.StatefulOutput(new_state, metrics, kept)

    accessors = _accessors(task, initialize.type_signature.result.member)
    process = stateful.StatefulProcess(
        initialize,
        next_fn,
        *accessors,
        specs,
        own_model=lambda weights, own: tff.learning.models.ModelWeights(
            tuple(own), tuple(weights.non_trainable)
        ),
    )
    process.conduct = conduct
    return process


def _server_weights(trainable: Any, frozen: Any) -> Any:
    """Returns the weights as the server keeps them.

    The initial trainable weights are among those that never change, so they are sent once.
    """
    return tff.learning.models.ModelWeights(tuple(trainable), (*frozen, *trainable))


def _split(task: tasks.Task, kept: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Returns the frozen weights and the initial trainable weights of what is sent once."""
    count = len(task.frozen_names)
    return tuple(kept[:count]), tuple(kept[count:])


def _build_work(
    task: tasks.Task,
    local: client_work.LocalWork,
    learning: distillation.Distillation,
    public: distillation.PublicTexts,
    settings_type: tff.Type,
    *,
    keyed: bool,
    share: Share,
) -> tff.Computation:
    """Returns the client's computation (settings, what it got once, its input) -> results.

    The settings are the round number and the targets. The results are the outputs on the public
    texts, their weight, the client's sums, and its new state.
    """
    own_specs, frozen_specs = task.weight_specs()
    received_type = tff.types.tensorflow_to_type(
        tff.learning.models.ModelWeights((), (*frozen_specs, *own_specs))
    )
    extras = {client_input.STATE: own_specs, **client_work.extras(local, keyed=keyed)}
    client_type = client_input.client_type(task.batch_spec, extras)

    @tff.tensorflow.computation(settings_type, received_type, client_type)
    def work(settings: Any, received: Any, client: Any) -> Any:
        number, targets = settings
        frozen, initial = _split(task, tuple(received.non_trainable))
        own = tuple(client_input.value_of(client, client_input.STATE, initial))
        learned, _ = distillation.distil(
            task,
            learning,
            own,
            frozen,
            public,
            targets,
            round_seed=client_work.round_seed(local.seed, number),
        )
        begin = tff.learning.models.ModelWeights(learned, frozen)
        deltas, sums = client_work.update(task, local, number, begin, client)
        kept = tuple(w - d for w, d in zip(learned, deltas, strict=True))
        outputs = distillation.logits(task, kept, frozen, public)
        update = (distillation.to_send(share(outputs)),)
        if local.send is not None:
            update = local.send(update, sums)
        if keyed:
            key = client_work.noise_key(client)
            silent = tf.nest.map_structure(tf.zeros_like, sums)
            return distributed_mean.KeyedUpdate(key, update), tf.ones([]), silent, kept
        return update, client_work.weight_of(sums, local.weighting), sums, kept

    return work


def _build_finish(
    task: tasks.Task,
    learning: distillation.Distillation,
    public: distillation.PublicTexts,
    seed: int,
    types: tuple[tff.Type, tff.Type, tff.Type],
    targets_of: Targets,
) -> tff.Computation:
    """Returns the server's computation (settings, weights, mean) -> new ones, measurements."""

    @tff.tensorflow.computation(*types)
    @tf.function
    def finish(settings: Any, weights: Any, mean: Any) -> Any:
        number, old = settings
        new = targets_of(mean[0])
        finite = tf.reduce_any(new > 0)
        before = tuple(weights.trainable)
        frozen, _ = _split(task, tuple(weights.non_trainable))
        after, _ = distillation.distil(
            task,
            learning,
            before,
            frozen,
            public,
            new,
            round_seed=client_work.round_seed(seed, number),
        )
        norm = tf.linalg.global_norm([b - a for b, a in zip(before, after, strict=True)])
        measurements = collections.OrderedDict(
            update_non_finite=tf.cast(tf.logical_not(finite), tf.int32), update_norm=norm
        )
        new_weights = tff.learning.models.ModelWeights(after, tuple(weights.non_trainable))
        return (number + 1, tf.where(finite, new, old)), new_weights, measurements

    return finish


def _accessors(task: tasks.Task, state_type: Any) -> tuple[tff.Computation, tff.Computation]:
    """Returns the computations that read and write the server's model."""
    get_kept, set_kept = composition.weight_accessors(state_type)

    @tff.tensorflow.computation(state_type)
    def get_model_weights(state: Any) -> Any:
        kept = get_kept(state)
        frozen, _ = _split(task, tuple(kept.non_trainable))
        return tff.learning.models.ModelWeights(tuple(kept.trainable), frozen)

    @tff.tensorflow.computation(state_type, task.weights_type())
    def set_model_weights(state: Any, weights: Any) -> Any:
        kept = _server_weights(tuple(weights.trainable), tuple(weights.non_trainable))
        return set_kept(state, kept)

    return get_model_weights, set_model_weights
