"""FedAvg of some weights. The other weights stay at their clients.

Arivazhagan et al. 2019, "Federated Learning with Personalization Layers", algorithms 1 and 2, for
any choice of the weights that stay. `fed_per` is this algorithm for the head.
"""

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

import tensorflow_federated as tff

from tff_nlp import errors
from tff_nlp.learning import (
    client_batches,
    client_input,
    client_work,
    composition,
    local_training,
    optimizers,
    stateful,
)
from tff_nlp.learning.transforms import transform as transforms
from tff_nlp.tasks import task as tasks


def local_parts(
    task: tasks.Task,
    local: client_work.LocalWork | None = None,
    *,
    parts: Collection[str],
    server_optimizer: optimizers.ServerOptimizer | None = None,
    aggregator: composition.Aggregator | None = None,
    algorithm: str = "fedper",
) -> stateful.StatefulProcess:
    """Builds the process: clients train all weights, and send the updates of the shared ones only.

    A client keeps its local parts from round to round, and they are never sent. It receives their
    initial values once, with the frozen weights. `get_model_weights` returns the shared weights and
    these initial values, in the order of the task: it is the model of a client that has not trained
    yet. `own_model` returns the model of a client that has.

    Args:
      task: The task.
      local: How clients train.
      parts: Names of the trainable weights that stay at the clients, see `Task.trainable_names`.
      server_optimizer: See `fed_avg`.
      aggregator: Aggregator of the updates of the shared weights.
      algorithm: Name of the algorithm, one that `privacy.contract` knows.

    Raises:
      UserError: If a name is not that of a trainable weight, if no weight or every weight is local,
        or if settings and mechanism are not compatible.
    """
    local = local or client_work.LocalWork()
    split = _split(task, parts)
    conduct = composition.check(task, local, aggregator, algorithm=algorithm)
    own_specs = split.local(task.weight_specs()[0])
    process = stateful.compose(
        task,
        _build_work(task, local, split),
        aggregator,
        server_optimizer,
        conduct,
        client_specs=own_specs,
        extras=client_work.extras(local),
        model_type=tff.types.tensorflow_to_type(_server_weights(split, *task.weight_specs())),
        own_model=lambda weights, own: tff.learning.models.ModelWeights(
            split.join(split.shared(tuple(weights.trainable)), tuple(own)),
            tuple(weights.non_trainable),
        ),
    )
    state_type = process.initialize.type_signature.result.member
    process.get_model_weights, process.set_model_weights = _accessors(task, split, state_type)
    return process


@dataclasses.dataclass(frozen=True)
class _Split:
    """Which of the trainable weights are local.

    Attributes:
      is_local: For each trainable weight, whether it stays at the client.
    """

    is_local: tuple[bool, ...]

    def local(self, weights: Sequence[Any]) -> tuple[Any, ...]:
        """Returns those of all trainable weights that stay at the client."""
        return tuple(w for w, own in zip(weights, self.is_local, strict=True) if own)

    def shared(self, weights: Sequence[Any]) -> tuple[Any, ...]:
        """Returns those of all trainable weights that are sent."""
        return tuple(w for w, own in zip(weights, self.is_local, strict=True) if not own)

    def join(self, shared: Sequence[Any], local: Sequence[Any]) -> tuple[Any, ...]:
        """Returns all trainable weights in the order of the task."""
        sent, kept = iter(shared), iter(local)
        return tuple(next(kept) if own else next(sent) for own in self.is_local)

    def frozen(self, kept: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Returns the frozen weights and the initial local parts of what is sent only once."""
        first = len(kept) - sum(self.is_local)
        return tuple(kept[:first]), tuple(kept[first:])


def _split(task: tasks.Task, parts: Collection[str]) -> _Split:
    for name in parts:
        if name not in task.trainable_names:
            raise errors.UserError(f"parts: {name} is no trainable weight of the task {task.name}")
    split = _Split(tuple(name in parts for name in task.trainable_names))
    if not any(split.is_local):
        raise errors.UserError("parts: no weight stays at the clients; take fed_avg")
    if all(split.is_local):
        raise errors.UserError("parts: no trainable weight is left that the clients share")
    return split


def _server_weights(split: _Split, trainable: Any, frozen: Any) -> Any:
    """Returns the weights as the server keeps and sends them.

    The initial local parts are among the weights that never change, so they are sent once.
    """
    return tff.learning.models.ModelWeights(
        split.shared(tuple(trainable)), (*frozen, *split.local(tuple(trainable)))
    )


def _build_work(task: tasks.Task, local: client_work.LocalWork, split: _Split) -> stateful.Work:
    """Returns the client's work, see `stateful.compose`."""

    def work(round_number: Any, weights: Any, client: Any) -> Any:
        frozen, initial = split.frozen(tuple(weights.non_trainable))
        own = tuple(client_input.value_of(client, client_input.STATE, initial))
        deltas, sums = local_training.train(
            task,
            local.optimizer,
            split.join(tuple(weights.trainable), own),
            frozen,
            client_batches.read(task, client_input.batches_of(client)),
            learning_rate=local.optimizer.learning_rate * local.schedule.factor(round_number),
            round_seed=client_work.round_seed(local.seed, round_number),
            transform=transforms.chain(local.transforms),
        )
        kept = tuple(w - d for w, d in zip(own, split.local(deltas), strict=True))
        update = split.shared(deltas)
        update = client_work.sent(local, update, sums, client)
        return update, client_work.weight_of(sums, local.weighting), sums, kept

    return work


def _accessors(
    task: tasks.Task, split: _Split, state_type: Any
) -> tuple[tff.Computation, tff.Computation]:
    """Returns the computations that read and write the weights of a state, in the task's order."""
    get_kept, set_kept = composition.weight_accessors(state_type)

    @tff.tensorflow.computation(state_type)
    def get_model_weights(state: Any) -> Any:
        kept = get_kept(state)
        frozen, local = split.frozen(tuple(kept.non_trainable))
        return tff.learning.models.ModelWeights(split.join(tuple(kept.trainable), local), frozen)

    @tff.tensorflow.computation(state_type, task.weights_type())
    def set_model_weights(state: Any, weights: Any) -> Any:
        kept = _server_weights(split, tuple(weights.trainable), tuple(weights.non_trainable))
        return set_kept(state, kept)

    return get_model_weights, set_model_weights
