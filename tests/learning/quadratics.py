"""Two clients with quadratic losses, for which every algorithm's way can be computed by hand.

Client k has the loss a_k / 2 * (w - b_k)^2: the optimum of their mean is the mean of the b_k
weighted by the a_k, and that of neither client.
"""

import collections

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.tasks import foreign_model

CURVATURES, CENTRES = np.array([1.0, 3.0]), np.array([2.0, -1.0])
OPTIMUM = float(np.sum(CURVATURES * CENTRES) / np.sum(CURVATURES))


def functional_model(start=0.0):
    """A model of one weight: x is (a, b) of a client, y is not used."""
    spec = collections.OrderedDict(
        x=tf.TensorSpec([None, 2], tf.float32), y=tf.TensorSpec([None], tf.float32)
    )

    @tf.function
    def predict(weights, x, training=True):
        return 0.5 * x[:, 0] * (weights[0][0] - x[:, 1]) ** 2

    @tf.function
    def loss(output, label, sample_weight=None):
        return tf.reduce_mean(output)

    return tff.learning.models.FunctionalModel(
        initial_weights=((np.float32(start),), ()),
        predict_on_batch_fn=predict,
        loss_fn=loss,
        input_spec=spec,
    )


def task(start=0.0):
    return foreign_model.from_functional_model(functional_model(start))


def client(number, steps):
    """The data of a client that takes so many steps along its full gradient."""
    x = np.array([[CURVATURES[number], CENTRES[number]]], np.float32)
    rows = tf.data.Dataset.from_tensor_slices(
        collections.OrderedDict(x=x, y=np.zeros(1, np.float32))
    )
    return rows.batch(1).repeat(steps)


def clients(steps):
    return [client(number, steps) for number in range(2)]


def local_steps(weight, number, steps, rate, correction=0.0):
    """Gradient descent of one client, by hand."""
    for _ in range(steps):
        weight -= rate * (CURVATURES[number] * (weight - CENTRES[number]) + correction)
    return weight


def fixed_point_of_fed_avg(steps, rate):
    """Where rounds of FedAvg with equal weights stay: w = mean_k (b_k + q_k (w - b_k))."""
    shrink = (1 - rate * CURVATURES) ** steps
    return float(np.sum((1 - shrink) * CENTRES) / np.sum(1 - shrink))
