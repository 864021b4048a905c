"""Ditto: each client trains a model of its own near the model that all clients share.

Li et al. 2021, "Ditto: Fair and Robust Federated Learning Through Personalization", algorithm 1
with FedAvg for the shared model.
"""

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
from tff_nlp.learning.transforms import proximal
from tff_nlp.learning.transforms import transform as transforms
from tff_nlp.tasks import task as tasks


def ditto(
    task: tasks.Task,
    local: client_work.LocalWork | None = None,
    *,
    strength: float = 0.1,
    server_optimizer: optimizers.ServerOptimizer | None = None,
    aggregator: composition.Aggregator | None = None,
) -> stateful.StatefulProcess:
    """Builds the process: `fed_avg`, and beside it a model of each client.

    The model v_k of client k minimises F_k(v) + strength / 2 * |v - w|^2, where F_k is the loss on
    the client's examples and w the shared model. In a round, a client takes its local steps twice:
    for its update of w, and for v_k. It keeps v_k, which is as large as the trainable weights and
    is never sent. In its first round, v_k begins as w. The shared model is that of `fed_avg`.

    Args:
      task: The task.
      local: How clients train both models.
      strength: The factor lambda of the paper, above 0. A client with a small factor trains almost
        alone.
      server_optimizer: See `fed_avg`.
      aggregator: Aggregator of the clients' updates of the shared model.

    Raises:
      UserError: If the strength is out of range, or settings and mechanism are not compatible.
    """
    if not 0 < strength < float("inf"):
        raise errors.UserError(f"`ditto_strength`={strength}: must be above 0 and finite")
    local = local or client_work.LocalWork()
    conduct = composition.check(task, local, aggregator, algorithm="ditto")
    return stateful.compose(
        task,
        _build_work(task, local, strength),
        aggregator,
        server_optimizer,
        conduct,
        client_specs=task.weight_specs()[0],
        extras=client_work.extras(local),
        own_model=lambda weights, own: tff.learning.models.ModelWeights(
            tuple(own), tuple(weights.non_trainable)
        ),
    )


def _build_work(task: tasks.Task, local: client_work.LocalWork, strength: float) -> stateful.Work:
    """Returns the client's work, see `stateful.compose`."""

    def work(round_number: Any, weights: Any, client: Any) -> Any:
        shared, frozen = tuple(weights.trainable), tuple(weights.non_trainable)
        own = tuple(client_input.value_of(client, client_input.STATE, shared))
        batches = client_batches.read(task, client_input.batches_of(client))

        def train(begin: Any, *added: transforms.GradientTransform) -> Any:
            return local_training.train(
                task,
                local.optimizer,
                begin,
                frozen,
                batches,
                learning_rate=local.optimizer.learning_rate * local.schedule.factor(round_number),
                round_seed=client_work.round_seed(local.seed, round_number),
                transform=transforms.chain([*local.transforms, *added]),
            )

        update, sums = train(shared)
        moved, _ = train(own, proximal.towards(shared, strength))
        update = client_work.sent(local, update, sums, client)
        kept = tuple(v - part for v, part in zip(own, moved, strict=True))
        return update, client_work.weight_of(sums, local.weighting), sums, kept

    return work
