"""FedAvg. With a server optimizer other than SGD, it is FedOpt.

McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from Decentralized Data",
algorithm 1; Reddi et al. 2021, "Adaptive Federated Optimization", algorithm 2.
"""

from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.aggregation import factor_products
from tff_nlp.learning import client_work, composition, factor_rounds, optimizers, stateful
from tff_nlp.tasks import task as tasks


def fed_avg(
    task: tasks.Task,
    local: client_work.LocalWork | None = None,
    *,
    server_optimizer: optimizers.ServerOptimizer | None = None,
    aggregator: composition.Aggregator | None = None,
    allow_dp_mismatch: bool = False,
) -> tff.learning.templates.LearningProcess | stateful.StatefulProcess:
    """Builds the process: clients train, and the server steps along the mean of their updates.

    Args:
      task: The task.
      local: How clients train. The default is SGD.
      server_optimizer: Optimizer of the server. The default is SGD with step size 1.
      aggregator: Aggregator of the clients' updates. The default is the mean, with the weights that
        `local` defines. A `factor_products.FactorMeanFactory` joins low-rank factors exactly.
      allow_dp_mismatch: Whether to permit settings that make the epsilon of a mechanism invalid.

    Returns:
      The process. `next` takes a list with one data set of batches per client.
      `composition.initial_state` returns the state before the first round. If clients keep what a
      codec of the aggregator loses, it is a `StatefulProcess`.

    Raises:
      UserError: If settings and mechanism are not compatible.

    Example:
      ```
      process = fed_avg(task, LocalWork(ClientOptimizer("sgd", 0.1)))
      state = composition.initial_state(process, task)
      state, metrics = process.next(state, [dataset_of_a_client, dataset_of_another])
      ```
    """
    local = local or client_work.LocalWork()
    conduct = composition.check(task, local, aggregator, allow_dp_mismatch=allow_dp_mismatch)
    server_optimizer = server_optimizer or optimizers.ServerOptimizer()
    if conduct.aggregator.keeps_error:
        return stateful.compose(
            task,
            _build_work(task, local),
            aggregator,
            server_optimizer,
            conduct,
            client_specs=(),
            extras=client_work.extras(local),
        )
    work = client_work.build_client_work(task, local, keyed=composition.keyed(aggregator))
    if isinstance(aggregator, factor_products.FactorMeanFactory):
        return factor_rounds.compose(
            task, work, aggregator, server_optimizer, conduct, seed=local.seed
        )
    return composition.compose(task, work, aggregator, server_optimizer, conduct)


def _build_work(task: tasks.Task, local: client_work.LocalWork) -> stateful.Work:
    """Returns the work of clients whose only state is what a codec lost."""

    def work(round_number: tf.Tensor, weights: Any, client: Any) -> Any:
        return *client_work.result(task, local, round_number, weights, client), ()

    return work
