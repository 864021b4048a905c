"""Two clients with quadratic losses, for which the way of an algorithm can be computed by hand.

Client k has the loss a_k / 2 * (w - b_k)^2 and the full gradient. The optimum of the mean of both
losses is the mean of the b_k weighted by the a_k.
"""

import collections
import functools
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.execution import contexts
from tff_nlp.learning import client_input, client_work, composition
from tff_nlp.learning.algorithms import fed_avg, scaffold
from tff_nlp.learning.optimizers import ClientOptimizer
from tff_nlp.tasks import foreign_model

CURVATURES, CENTRES = np.array([1.0, 3.0]), np.array([2.0, -1.0])
OPTIMUM = float(np.sum(CURVATURES * CENTRES) / np.sum(CURVATURES))


def weight_after(algorithm: str, *, steps: int, rate: float, rounds: int) -> float:
    """Returns the weight after some rounds in which both clients take part.

    Args:
      algorithm: "fedavg" or "scaffold".
      steps: Number of local steps of a client in a round.
      rate: Learning rate of the clients.
      rounds: Number of rounds.
    """
    process, state = _begin(algorithm, rate)
    data = [client(number, steps) for number in range(2)]
    if algorithm == "fedavg":
        for _ in range(rounds):
            state = process.next(state, data).state
    else:
        kept = [process.client_specs] * 2  # The states of clients that are new.
        for _ in range(rounds):
            clients = [
                client_input.with_values(d, state=k) for d, k in zip(data, kept, strict=True)
            ]
            output = process.next(state, clients)
            state, kept = output.state, list(output.clients)
    return float(process.get_model_weights(state).trainable[0])


@functools.cache
def _begin(algorithm: str, rate: float) -> tuple[Any, Any]:
    """Returns a process and its first state. They do not depend on the number of local steps."""
    contexts.install("streaming")
    task = foreign_model.from_functional_model(functional_model())
    local = client_work.LocalWork(ClientOptimizer("sgd", rate), weighting="uniform")
    if algorithm == "fedavg":
        process = fed_avg.fed_avg(task, local)
    else:
        process = scaffold.scaffold(task, local, population=2)
    return process, composition.initial_state(process, task)


def fixed_point_of_fed_avg(steps: int, rate: float) -> float:
    """Returns where rounds of FedAvg with equal weights stay.

    It is the solution of w = mean_k (b_k + q_k (w - b_k)) with q_k = (1 - rate a_k)^steps.
    """
    shrink = (1 - rate * CURVATURES) ** steps
    return float(np.sum((1 - shrink) * CENTRES) / np.sum(1 - shrink))


def functional_model(start: float = 0.0) -> tff.learning.models.FunctionalModel:
    """Returns a model of one weight. x is (a, b) of a client, y is not used."""
    spec = collections.OrderedDict(
        x=tf.TensorSpec([None, 2], tf.float32), y=tf.TensorSpec([None], tf.float32)
    )

    @tf.function
    def predict(weights: Any, x: tf.Tensor, training: bool = True) -> tf.Tensor:
        del training
        return 0.5 * x[:, 0] * (weights[0][0] - x[:, 1]) ** 2

    @tf.function
    def loss(output: tf.Tensor, label: tf.Tensor, sample_weight: Any = None) -> tf.Tensor:
        del label, sample_weight
        return tf.reduce_mean(output)

    return tff.learning.models.FunctionalModel(
        initial_weights=((np.float32(start),), ()),
        predict_on_batch_fn=predict,
        loss_fn=loss,
        input_spec=spec,
    )


def client(number: int, steps: int) -> tf.data.Dataset:
    """Returns the data of a client that takes so many steps along its full gradient."""
    x = np.array([[CURVATURES[number], CENTRES[number]]], np.float32)
    rows = tf.data.Dataset.from_tensor_slices(
        collections.OrderedDict(x=x, y=np.zeros(1, np.float32))
    )
    return rows.batch(1).repeat(steps)
