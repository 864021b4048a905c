"""FedPer: clients share the encoder, and each client keeps a head of its own.

Arivazhagan et al. 2019, "Federated Learning with Personalization Layers".
"""

from tff_nlp import errors
from tff_nlp.learning import client_work, composition, optimizers, stateful
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
    if not task.head:
        raise errors.UserError(
            f"`algorithm`=fedper: the task {task.name} has no head that a client could keep; take "
            "`algorithm`=ditto"
        )
    if set(task.head) == set(task.trainable_names):
        raise errors.UserError(
            "`algorithm`=fedper: only the head trains, and clients keep their heads, so they would "
            "share nothing; take another `trainable`"
        )
    return local_parts.local_parts(
        task,
        local,
        parts=task.head,
        server_optimizer=server_optimizer,
        aggregator=aggregator,
    )
