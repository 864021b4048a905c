"""FedSA-LoRA: clients share the factors A of LoRA, and each client keeps its own factors B.

Guo et al. 2024, "Selective Aggregation for Low-Rank Adaptation in Federated Learning", section 3.
"""

from tff_nlp import errors
from tff_nlp.learning import client_work, composition, optimizers, stateful
from tff_nlp.learning.algorithms import local_parts
from tff_nlp.tasks import task as tasks


def fed_sa(
    task: tasks.Task,
    local: client_work.LocalWork | None = None,
    *,
    server_optimizer: optimizers.ServerOptimizer | None = None,
    aggregator: composition.Aggregator | None = None,
) -> stateful.StatefulProcess:
    """Builds the process: `local_parts` with the factors B of the task as the local parts.

    Args:
      task: The task. It needs low-rank factors that train.
      local: How clients train.
      server_optimizer: See `fed_avg`.
      aggregator: See `local_parts`.

    Raises:
      UserError: If the task has no such factors, or for the reasons of `local_parts`.
    """
    if not task.factors:
        raise errors.UserError("`lora_aggregation`=fedsa: needs `adapter`=lora")
    return local_parts.local_parts(
        task,
        local,
        parts=[task.trainable_names[factors.b] for factors in task.factors],
        server_optimizer=server_optimizer,
        aggregator=aggregator,
        algorithm="fedsa",
    )
