"""FedDF: the server distils the clients' models into their mean.

Lin et al. 2020, "Ensemble Distillation for Robust Model Fusion in Federated Learning",
algorithm 1.
"""

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.learning import (
    client_input,
    client_work,
    composition,
    distillation,
    optimizers,
    server_update,
)
from tff_nlp.tasks import task as tasks


def fed_df(
    task: tasks.Task,
    local: client_work.LocalWork | None = None,
    *,
    public: distillation.PublicTexts,
    learning: distillation.Distillation | None = None,
    server_optimizer: optimizers.ServerOptimizer | None = None,
    aggregator: composition.Aggregator | None = None,
) -> tff.learning.templates.LearningProcess:
    """Builds the process: `fed_avg`, and then the server learns from the clients' mean logits.

    The server begins with the result of `fed_avg`. On the public texts, it minimises
    KL(softmax(mean of the clients' logits) || model).

    A client computes the logits of its trained model itself, and sends them in addition to its
    update: 4 bytes for each text and category. In the paper, the server computes them from the
    weights of each client. Then these bytes are not sent, but the server must hold every client's
    model. Here it needs only sums, so secure sums are possible, and a round needs no more memory
    with more clients.

    Args:
      task: The task, with `categories`.
      local: How clients train.
      public: The public texts.
      learning: How the server distils; None for SGD and one pass over the texts.
      server_optimizer: See `fed_avg`.
      aggregator: Aggregator of the clients' updates, and also of their logits. The logits of each
        client weigh the same.

    Raises:
      UserError: If the task has no categories, or the aggregator claims differential privacy: it
        would account for only one of the two values that a client sends.
    """
    local = local or client_work.LocalWork()
    learning = learning or distillation.Distillation()
    distillation.check(task, "feddf")
    conduct = composition.check(task, local, aggregator, algorithm="feddf")
    work = _build_work(task, local, public)
    _, model_type, client_type = work.type_signature.parameter
    update_type, weight_type, sums_type, logits_type, counted_type = work.type_signature.result
    factory = composition.weighted(aggregator)
    updates = factory.create(update_type, weight_type)
    ensemble = factory.create(logits_type, counted_type)
    finalizer = server_update.build_server_update(
        model_type, server_optimizer or optimizers.ServerOptimizer()
    )
    summarize = client_work.build_summary(task, sums_type)
    learn = _build_learning(task, learning, public, local.seed, model_type, logits_type)
    initialize = composition.initialization(
        model_type,
        lambda: tff.federated_eval(client_work.first_round, tff.SERVER),
        lambda: tff.federated_zip((updates.initialize(), ensemble.initialize())),
        finalizer.initialize,
    )

    @tff.federated_computation(
        initialize.type_signature.result, tff.FederatedType(client_type, tff.CLIENTS)
    )
    def next_fn(state: Any, clients: Any) -> Any:
        sent = composition.at_clients(work, state.client_work, state.global_model_weights, clients)
        update, weight, sums, logits, counted = (sent[number] for number in range(5))
        updated = updates.next(state.aggregator[0], update, weight)
        joined = ensemble.next(state.aggregator[1], logits, counted)
        trained = tff.federated_map(summarize, tff.federated_sum(sums))
        applied = finalizer.next(state.finalizer, state.global_model_weights, updated.result)
        learned = tff.federated_map(learn, (state.client_work, applied.result, joined.result))
        new_state = tff.federated_zip(
            tff.learning.templates.LearningAlgorithmState(
                learned,
                state.distributor,
                tff.federated_map(client_work.next_round, state.client_work),
                tff.federated_zip((updated.state, joined.state)),
                applied.state,
            )
        )
        metrics = composition.metrics(trained, updated.measurements, applied.measurements)
        return tff.learning.templates.LearningProcessOutput(new_state, metrics)

    accessors = composition.weight_accessors(initialize.type_signature.result.member)
    process = tff.learning.templates.LearningProcess(initialize, next_fn, *accessors)
    process.conduct = conduct
    return process


def _build_work(
    task: tasks.Task, local: client_work.LocalWork, public: distillation.PublicTexts
) -> tff.Computation:
    """Returns the client's computation.

    It returns the update, its weight, the client's sums, its logits on the public texts, and their
    weight (1.0 or 0.0).
    """
    data_type = client_input.client_type(task.batch_spec, client_work.extras(local))

    @tff.tensorflow.computation(np.int32, task.weights_type(), data_type)
    def work(round_number: Any, weights: Any, client: Any) -> Any:
        update, sums = client_work.update(task, local, round_number, weights, client)
        trained = tuple(w - d for w, d in zip(tuple(weights.trainable), update, strict=True))
        logits = distillation.logits(task, trained, tuple(weights.non_trainable), public)
        # A client without batches, or with an overflow, has learned nothing.
        counted = (1.0 - sums["non_finite"]) * tf.cast(sums["num_batches"] > 0, tf.float32)
        update = client_work.sent(local, update, sums, client)
        weight = client_work.weight_of(sums, local.weighting)
        return update, weight, sums, (distillation.to_send(logits),), counted

    return work


def _build_learning(
    task: tasks.Task,
    learning: distillation.Distillation,
    public: distillation.PublicTexts,
    seed: int,
    model_type: tff.Type,
    logits_type: tff.Type,
) -> tff.Computation:
    """Returns the server's computation (round number, weights, mean logits) -> new weights."""

    @tff.tensorflow.computation(np.int32, model_type, logits_type)
    @tf.function
    def learn(round_number: Any, weights: Any, mean: Any) -> Any:
        targets = distillation.targets(mean[0])
        trainable, frozen = tuple(weights.trainable), tuple(weights.non_trainable)
        learned, _ = distillation.distil(
            task,
            learning,
            trainable,
            frozen,
            public,
            targets,
            round_seed=client_work.round_seed(seed, round_number),
        )
        return tff.learning.models.ModelWeights(learned, frozen)

    return learn
