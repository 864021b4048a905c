"""FedPer: clients share the encoder, and each client keeps a head of its own.

Arivazhagan et al. 2019, "Federated Learning with Personalization Layers".
"""

from tff_nlp.learning import client_work, composition, optimizers, stateful, suitability
from tff_nlp.learning.algorithms import local_parts
from tff_nlp.tasks import task as tasks


def fed_per(
    task: tasks.Task,
    local: client_work.LocalWork | None = None,
    *,
    server_optimizer: optimizers.ServerOptimizer | None = None,
    aggregator: composition.Aggregator | None = None,
) -> stateful.StatefulProcess:
    """Builds the process: `local_parts` with the head of the task as the local part.

    Args:
      task: The task. It needs a head.
      local: How clients train.
      server_optimizer: See `fed_avg`.
      aggregator: See `local_parts`.

    Raises:
      UserError: If the task has no head that trains, if nothing else trains, or for the reasons of
        `local_parts`.
    """
    only_head = set(task.head) == set(task.trainable_names)
    suitability.check_local_head(task.name, has_head=bool(task.head), only_head=only_head)
    return local_parts.local_parts(
        task,
        local,
        parts=task.head,
        server_optimizer=server_optimizer,
        aggregator=aggregator,
    )
