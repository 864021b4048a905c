"""Server optimizers, against the formulas of Reddi et al. 2021 written out in NumPy."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.learning import server_update
from tff_nlp.learning.optimizers import ServerOptimizer

TAU, RATE, BETA_1, BETA_2 = 1e-2, 0.1, 0.9, 0.99


def _model_type():
    spec = tf.TensorSpec([3], tf.float32)
    return tff.types.tensorflow_to_type(tff.learning.models.ModelWeights((spec,), (spec,)))


def _apply(optimizer, updates):
    process = server_update.build_server_update(_model_type(), optimizer)
    state = process.initialize()
    weights = tff.learning.models.ModelWeights((np.ones(3, np.float32),), (np.ones(3, np.float32),))
    measurements = []
    for update in updates:
        output = process.next(state, weights, (np.asarray(update, np.float32),))
        state, weights = output.state, output.result
        measurements.append(output.measurements)
    return np.asarray(weights.trainable[0]), measurements


def _expected(name, updates):
    """The last weights; "adam" and "yogi" with the bias corrections that TFF makes."""
    w = np.ones(3)
    m = np.zeros(3)
    v = np.zeros(3) if name == "adam" else np.full(3, TAU**2)
    for t, u in enumerate(np.asarray(updates, np.float64), start=1):
        if name == "adagrad":
            v = v + u**2
            w = w - RATE * u / np.sqrt(v)
            continue
        m = BETA_1 * m + (1 - BETA_1) * u
        if name == "adam":
            v = BETA_2 * v + (1 - BETA_2) * u**2
        else:
            v = v - (1 - BETA_2) * u**2 * np.sign(v - u**2)
        rate = RATE * np.sqrt(1 - BETA_2**t) / (1 - BETA_1**t)
        w = w - rate * m / (np.sqrt(v) + TAU)
    return w


@pytest.mark.parametrize("name", ["adam", "yogi", "adagrad"])
def test_adaptive_optimizers(name):
    updates = np.random.default_rng(0).normal(size=(4, 3)) * [1.0, 0.01, 0.0]
    optimizer = ServerOptimizer(name, RATE, beta_1=BETA_1, beta_2=BETA_2, epsilon=TAU)
    weights, _ = _apply(optimizer, updates)
    np.testing.assert_allclose(weights, _expected(name, updates), rtol=1e-5)
    assert weights[2] == 1.0  # without an update nothing moves, and nothing is divided by zero


def test_momentum():
    weights, _ = _apply(ServerOptimizer("sgd", 0.5, momentum=0.9), [[1, 2, 0], [1, 0, 0]])
    np.testing.assert_allclose(weights, [1 - 0.5 - 0.5 * 1.9, 1 - 1 - 0.5 * 1.8, 1], rtol=1e-6)


def test_an_update_that_is_not_finite_is_refused():
    optimizer = ServerOptimizer("adam", RATE)
    clean, _ = _apply(optimizer, [[1, 2, 3], [3, 2, 1]])
    weights, measurements = _apply(optimizer, [[1, 2, 3], [np.nan, 0, np.inf], [3, 2, 1]])
    np.testing.assert_array_equal(weights, clean)
    assert [int(m["update_non_finite"]) for m in measurements] == [0, 1, 0]
    assert float(measurements[1]["update_norm"]) == 0.0
    assert float(measurements[0]["update_norm"]) == pytest.approx(14**0.5)
