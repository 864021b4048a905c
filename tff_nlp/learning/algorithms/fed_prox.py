"""FedProx: FedAvg with a term that keeps the clients near their initial weights.

Li et al. 2020, "Federated Optimization in Heterogeneous Networks", algorithm 2. The proximal
term of TFF 0.87 has the opposite sign.
"""

import dataclasses

import tensorflow_federated as tff

from tff_nlp.learning import client_work, composition, optimizers
from tff_nlp.learning.algorithms import fed_avg
from tff_nlp.learning.transforms import proximal
from tff_nlp.tasks import task as tasks


def fed_prox(
    task: tasks.Task,
    local: client_work.LocalWork | None = None,
    *,
    proximal_strength: float = 0.01,
    server_optimizer: optimizers.ServerOptimizer | None = None,
    aggregator: composition.Aggregator | None = None,
    allow_dp_mismatch: bool = False,
) -> tff.learning.templates.LearningProcess:
    """Builds the process: `fed_avg` with a proximal term at the clients.

    Args:
      task: The task.
      local: How clients train.
      proximal_strength: The factor mu of the paper, above 0.
      server_optimizer: See `fed_avg`.
      aggregator: See `fed_avg`.
      allow_dp_mismatch: See `fed_avg`.

    Raises:
      UserError: If the strength is out of range, or for the reasons of `fed_avg`.
    """
    local = local or client_work.LocalWork()
    transforms = (proximal.proximal(proximal_strength), *local.transforms)
    process = fed_avg.fed_avg(
        task,
        dataclasses.replace(local, transforms=transforms),
        server_optimizer=server_optimizer,
        aggregator=aggregator,
        allow_dp_mismatch=allow_dp_mismatch,
    )
    process.conduct = dataclasses.replace(process.conduct, algorithm="fedprox")
    return process
