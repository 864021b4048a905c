"""Rounds whose server changes frozen matrices by the exact mean of low-rank products.

See `aggregation.factor_products` for the papers. In FedEx-LoRA, A and B become their means, and the
frozen matrix W takes what is missing: mean(A B) - mean(A) mean(B). In FLoRA, W takes mean(A B), and
A and B start anew.
"""

import collections
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp import seeds
from tff_nlp.aggregation import factor_products
from tff_nlp.learning import composition, optimizers, suitability
from tff_nlp.privacy import contract_terms
from tff_nlp.tasks import task as tasks


def compose(
    task: tasks.Task,
    work: tff.learning.templates.ClientWorkProcess,
    aggregator: factor_products.FactorMeanFactory,
    server_optimizer: optimizers.ServerOptimizer,
    conduct: contract_terms.Conduct,
    seed: int,
) -> tff.learning.templates.LearningProcess:
    """Returns the learning process of client work with an aggregator of products.

    The changed matrices are part of the finalizer's state and are sent to the clients in each
    round. `get_model_weights` returns them among the frozen weights.

    Args:
      task: The task. It has factors.
      work: The client work process.
      aggregator: The aggregator.
      server_optimizer: Must be SGD with step size 1, because the products are exact for whole steps
        only.
      conduct: Result of `composition.check`.
      seed: Seed of the run, for the factors that start anew.

    Raises:
      UserError: If the server optimizer is another one.
    """
    suitability.check_server_optimizer(
        aggregator.method,
        server_optimizer.name,
        server_optimizer.learning_rate,
        server_optimizer.momentum,
    )
    model_type = task.weights_type()
    result_type = work.next.type_signature.result.result.member
    aggregation = aggregator.create(result_type.update, result_type.update_weight)
    kernel_specs = [task.weight_specs()[1][factors.kernel] for factors in task.factors]

    @tff.tensorflow.computation
    def first() -> Any:
        kernels = tuple(tf.fill(spec.shape, float("nan")) for spec in kernel_specs)
        return tf.zeros([], tf.int32), kernels

    finalizer_type = first.type_signature.result

    @tff.tensorflow.computation(model_type, finalizer_type[1])
    def with_kernels(weights: Any, kernels: Any) -> Any:
        return _with_kernels(task, weights, kernels)

    apply = _build_update(
        task, aggregator.starts_anew, seed, finalizer_type, aggregation, model_type
    )

    initialize = composition.initialization(
        model_type,
        work.initialize,
        aggregation.initialize,
        lambda: tff.federated_eval(first, tff.SERVER),
    )

    data_type = work.next.type_signature.parameter[2]

    @tff.federated_computation(initialize.type_signature.result, data_type)
    def next_fn(state: Any, clients: Any) -> Any:
        sent = tff.federated_map(
            with_kernels,
            (
                tff.federated_broadcast(state.global_model_weights),
                tff.federated_broadcast(state.finalizer[1]),
            ),
        )
        worked = work.next(state.client_work, sent, clients)
        joined = aggregation.next(
            state.aggregator, worked.result.update, worked.result.update_weight
        )
        applied = tff.federated_map(
            apply, (state.finalizer, state.global_model_weights, joined.result)
        )
        new_state = tff.federated_zip(
            tff.learning.templates.LearningAlgorithmState(
                applied[1], state.distributor, worked.state, joined.state, applied[0]
            )
        )
        metrics = tff.federated_zip(
            collections.OrderedDict(
                client_work=worked.measurements,
                aggregator=joined.measurements,
                finalizer=applied[2],
            )
        )
        return tff.learning.templates.LearningProcessOutput(new_state, metrics)

    state_type = initialize.type_signature.result.member

    @tff.tensorflow.computation(state_type)
    def get_model_weights(state: Any) -> Any:
        return _with_kernels(task, state.global_model_weights, state.finalizer[1])

    @tff.tensorflow.computation(state_type, model_type)
    def set_model_weights(state: Any, weights: Any) -> Any:
        frozen = tuple(weights.non_trainable)
        kernels = tuple(frozen[factors.kernel] for factors in task.factors)
        return tff.learning.templates.LearningAlgorithmState(
            weights,
            state.distributor,
            state.client_work,
            state.aggregator,
            (state.finalizer[0], kernels),
        )

    process = tff.learning.templates.LearningProcess(
        initialize, next_fn, get_model_weights, set_model_weights
    )
    process.conduct = conduct
    return process


def _with_kernels(task: tasks.Task, weights: Any, kernels: Any) -> Any:
    """Returns the weights with other values of the matrices that have factors."""
    frozen = list(weights.non_trainable)
    for factors, kernel in zip(task.factors, kernels, strict=True):
        frozen[factors.kernel] = kernel
    return tff.learning.models.ModelWeights(tuple(weights.trainable), tuple(frozen))


def _build_update(
    task: tasks.Task,
    starts_anew: bool,
    seed: int,
    state_type: tff.Type,
    aggregation: tff.templates.AggregationProcess,
    model_type: tff.Type,
) -> tff.Computation:
    """Returns the computation (state, weights, means) -> new state, new weights, measurements."""
    means_type = aggregation.next.type_signature.result.result.member

    @tff.tensorflow.computation(state_type, model_type, means_type)
    @tf.function
    def apply(state: Any, weights: Any, means: Any) -> Any:
        number, kernels = state
        before, update, products = tuple(weights.trainable), tuple(means[0]), tuple(means[1])
        norm = tf.linalg.global_norm([*update, *products])
        finite = tf.math.is_finite(norm)
        after = [w - u for w, u in zip(before, update, strict=True)]
        changed = []
        for index, (factors, kernel, product) in enumerate(
            zip(task.factors, kernels, products, strict=True)
        ):
            a, b = before[factors.a], before[factors.b]
            mean_a, mean_b = update[factors.a], update[factors.b]
            # A client has A - a and B - b. The sum of products has a b only.
            if not starts_anew:
                residual = product - tf.tensordot(mean_a, mean_b, 1)
            else:
                residual = tf.tensordot(a - mean_a, b, 1) - tf.tensordot(a, mean_b, 1) + product
                after[factors.a] = _fresh(a, seed, index, number)
                after[factors.b] = tf.zeros_like(b)
            changed.append(kernel + factors.scale * residual)
        kept_kernels = tuple(
            tf.where(finite, new, old) for new, old in zip(changed, kernels, strict=True)
        )
        kept = tuple(tf.where(finite, new, old) for new, old in zip(after, before, strict=True))
        measurements = collections.OrderedDict(
            update_non_finite=tf.cast(tf.logical_not(finite), tf.int32),
            update_norm=tf.where(finite, tf.linalg.global_norm(update), 0.0),
        )
        new_weights = tff.learning.models.ModelWeights(kept, tuple(weights.non_trainable))
        return (number + 1, kept_kernels), new_weights, measurements

    return apply


def _fresh(a: tf.Tensor, seed: int, index: int, number: tf.Tensor) -> tf.Tensor:
    """Returns new random values of A, uniform within 1 / sqrt(rows), for the next round."""
    pair = tf.constant(seeds.pair(seed, "lora_factors", index), tf.int32)
    folded = tf.random.experimental.stateless_fold_in(pair, number)
    rows = a.shape[:-1].num_elements()
    return tf.random.stateless_uniform(a.shape, folded, -(rows**-0.5), rows**-0.5)
