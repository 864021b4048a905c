"""MimeLite: clients use the server's optimizer with a state that stays fixed while they train.

Karimireddy et al. 2021, "Breaking the Centralized Barrier for Cross-Device Federated Learning",
algorithm 1, without the control variates of Mime.
"""

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.learning import (
    client_batches,
    client_input,
    client_work,
    composition,
    local_training,
    optimizers,
)
from tff_nlp.learning.transforms import transform as transforms
from tff_nlp.tasks import task as tasks

_RATE = tff.learning.optimizers.LEARNING_RATE_KEY


def mime_lite(
    task: tasks.Task,
    local: client_work.LocalWork | None = None,
    *,
    server_optimizer: optimizers.ServerOptimizer | None = None,
    aggregator: composition.Aggregator | None = None,
) -> tff.learning.templates.LearningProcess:
    """Builds the process.

    The server keeps the state of the optimizer of `local`: SGD with momentum, or AdamW without
    decay, which is Adam. It broadcasts the state, and clients step with it. A client also sends its
    gradient at the initial weights, and the server updates the state with the mean of these
    gradients. A client sends twice the bytes of `fed_avg`, and receives the state in addition.

    Args:
      task: The task.
      local: How clients train.
      server_optimizer: Optimizer that applies the mean update. The default is SGD with step size 1.
      aggregator: Aggregator of the clients' updates, and also of their gradients.

    Raises:
      UserError: If the optimizer has settings that TFF's optimizers do not have, or if there is a
        privacy mechanism: it would account for only one of the two values that a client sends.
    """
    local = local or client_work.LocalWork()
    conduct = composition.check(task, local, aggregator, algorithm="mime_lite")
    local.optimizer.check_for("mime_lite")
    return composition.compose(
        task,
        _build_client_work(task, local, composition.weighted(aggregator)),
        aggregator,
        server_optimizer or optimizers.ServerOptimizer(),
        conduct,
    )


@dataclasses.dataclass(frozen=True)
class _FixedState:
    """A client's optimizer that uses the server's state and does not change it.

    Attributes:
      optimizer: The server's base optimizer.
      state: The state of the base optimizer, from the broadcast.
    """

    optimizer: tff.learning.optimizers.Optimizer
    state: Any

    def initial_state(self, weights: Sequence[tf.Tensor]) -> tuple:
        """Returns an empty state, because no step changes it."""
        del weights
        return ()

    def step(
        self,
        state: tuple,
        weights: Sequence[tf.Tensor],
        gradients: Sequence[tf.Tensor],
        learning_rate: tf.Tensor,
        decayed: Sequence[bool],
    ) -> tuple[tuple, tuple[tf.Tensor, ...]]:
        """Takes one step (arguments: see `optimizers.ClientOptimizer.step`)."""
        del decayed
        present = collections.OrderedDict(self.state, **{_RATE: learning_rate})
        _, moved = self.optimizer.next(present, tuple(weights), tuple(gradients))
        return state, tuple(moved)


def _build_client_work(
    task: tasks.Task,
    local: client_work.LocalWork,
    factory: tff.aggregators.WeightedAggregationFactory,
) -> tff.learning.templates.ClientWorkProcess:
    """Builds the client work. Its state: round, state of the optimizer, state of the aggregator."""
    optimizer = local.optimizer.base()
    specs = task.weight_specs()[0]
    model_type = task.weights_type()
    data_type = client_input.client_type(task.batch_spec, client_work.extras(local))
    transform = transforms.chain(local.transforms)._replace(sparse=False)

    @tff.tensorflow.computation
    def first() -> Any:
        return tf.zeros([], tf.int32), optimizer.initialize(specs)

    own_type = first.type_signature.result

    @tff.tensorflow.computation(own_type, model_type, data_type)
    def work(own: Any, weights: Any, client: Any) -> Any:
        round_number, state = own
        trainable, frozen = tuple(weights.trainable), tuple(weights.non_trainable)
        batches = client_batches.read(task, client_input.batches_of(client))
        seed = client_work.round_seed(local.seed, round_number)
        rate = local.optimizer.learning_rate * local.schedule.factor(round_number)
        deltas, sums = local_training.train(
            task,
            _FixedState(optimizer, state),
            trainable,
            frozen,
            batches,
            learning_rate=rate,
            round_seed=seed,
            transform=transform,
        )
        gradient = local_training.full_gradient(task, trainable, frozen, batches, seed)
        finite = sums["non_finite"] < 0.5
        gradient = tuple(tf.where(finite, part, tf.zeros_like(part)) for part in gradient)
        deltas = client_work.sent(local, deltas, sums, client)
        weight = client_work.weight_of(sums, local.weighting)
        return tff.learning.templates.ClientResult(deltas, weight), sums, gradient

    result_type, sums_type, gradient_type = work.type_signature.result
    gradients = factory.create(gradient_type, result_type.update_weight)

    @tff.tensorflow.computation(own_type, gradient_type)
    def advance(own: Any, gradient: Any) -> Any:
        number, state = own
        # The optimizer's next state does not depend on the weights.
        any_weights = tuple(map(tf.zeros_like, gradient))
        new_state, _ = optimizer.next(state, any_weights, tuple(gradient))
        return number + 1, new_state

    finalize = client_work.build_summary(task, sums_type)

    @tff.federated_computation
    def initialize() -> Any:
        return tff.federated_zip((tff.federated_eval(first, tff.SERVER), gradients.initialize()))

    @tff.federated_computation(
        initialize.type_signature.result,
        tff.FederatedType(model_type, tff.CLIENTS),
        tff.FederatedType(data_type, tff.CLIENTS),
    )
    def next_fn(state: Any, weights: Any, clients: Any) -> Any:
        own, aggregated = state
        result, sums, gradient = tff.federated_map(
            work, (tff.federated_broadcast(own), weights, clients)
        )
        mean = gradients.next(aggregated, gradient, result.update_weight)
        advanced = tff.federated_map(advance, (own, mean.result))
        train = tff.federated_map(finalize, tff.federated_sum(sums))
        return tff.templates.MeasuredProcessOutput(
            tff.federated_zip((advanced, mean.state)),
            result,
            tff.federated_zip(collections.OrderedDict(train=train)),
        )

    return tff.learning.templates.ClientWorkProcess(initialize, next_fn)
