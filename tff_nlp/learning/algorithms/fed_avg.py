"""FedAvg, and with another server optimizer than SGD FedOpt.

McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from Decentralized Data",
algorithm 1; Reddi et al. 2021, "Adaptive Federated Optimization", algorithm 2.
"""

import tensorflow_federated as tff

from tff_nlp.learning import client_work, composition, optimizers
from tff_nlp.tasks import task as tasks


def fed_avg(
    task: tasks.Task,
    local: client_work.LocalWork | None = None,
    *,
    server_optimizer: optimizers.ServerOptimizer | None = None,
    aggregator: composition.Aggregator | None = None,
    allow_dp_mismatch: bool = False,
) -> tff.learning.templates.LearningProcess:
    """Builds the process: clients train, the server takes a step along the mean of their updates.

    Args:
      task: What is trained for.
      local: How clients train; by default with SGD.
      server_optimizer: The server's optimizer; by default the mean update is applied as it is.
      aggregator: Combines the clients' updates; by default their mean, weighted as `local` says.
      allow_dp_mismatch: Whether a mechanism may go with settings that void its epsilon.

    Returns:
      The process. `next` takes a list with one data set of batches per client; see
      `composition.initial_state` for the state to begin with.

    Raises:
      UserError: If settings and mechanism do not go together.

    Example:
      ```
      process = fed_avg(task, LocalWork(ClientOptimizer("sgd", 0.1)))
      state = composition.initial_state(process, task)
      state, metrics = process.next(state, [dataset_of_a_client, dataset_of_another])
      ```
    """
    local = local or client_work.LocalWork()
    composition.check(task, local, aggregator, allow_dp_mismatch=allow_dp_mismatch)
    work = client_work.build_client_work(task, local, keyed=composition.keyed(aggregator))
    return composition.compose(
        task, work, aggregator, server_optimizer or optimizers.ServerOptimizer()
    )
