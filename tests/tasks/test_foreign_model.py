"""TFF's models under our algorithms, and our tasks under TFF's algorithms."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff
from tensorflow_federated.python.simulation.baselines.shakespeare import char_prediction_models

from tests.learning import conftest as berts
from tff_nlp.execution import streaming
from tff_nlp.learning import client_work, composition, optimizers
from tff_nlp.learning.algorithms import fed_avg
from tff_nlp.tasks import classification, foreign_model

_sgd = tff.learning.optimizers.build_sgdm


@pytest.fixture(autouse=True)
def _streaming():
    """TFF's worker cannot run Keras's recurrent layers in a functional model."""
    with tff.framework.get_context_stack().install(streaming.StreamingContext(["/CPU:0"])):
        yield


def made_texts(seed, rows, length, vocabulary):
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, vocabulary, (rows, length + 1)).astype(np.int64)
    return ids[:, :-1], ids[:, 1:]


def character_model():
    """TFF's model of Shakespeare's characters, in a small size for tests."""
    vocabulary, length = 12, 7

    def network():
        return char_prediction_models.create_recurrent_model(vocabulary, length, mask_zero=False)

    spec = (tf.TensorSpec([None, length], tf.int64), tf.TensorSpec([None, length], tf.int64))
    model = tff.learning.models.functional_model_from_keras(
        network, tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True), spec
    )
    data = [
        tf.data.Dataset.from_tensor_slices(made_texts(seed, rows, length, vocabulary)).batch(4)
        for seed, rows in enumerate((8, 5, 6))
    ]
    return model, data


@pytest.mark.slow
def test_tffs_shakespeare_model_trains_as_in_tff():
    # Keras's layers remember the graph that they were last used in, so each side has its own model.
    model, data = character_model()
    theirs = tff.learning.algorithms.build_weighted_fed_avg(model, _sgd(0.5), _sgd(1.0))
    first = expected = theirs.initialize()
    for _ in range(2):
        expected = theirs.next(expected, data).state

    model, _ = character_model()
    task = foreign_model.from_functional_model(model)
    local = client_work.LocalWork(optimizers.ClientOptimizer("sgd", 0.5))
    process = fed_avg.fed_avg(task, local)
    state = process.set_model_weights(process.initialize(), theirs.get_model_weights(first))
    for _ in range(2):
        output = process.next(state, data)
        state = output.state
    ours = process.get_model_weights(state).trainable
    for one, two in zip(ours, theirs.get_model_weights(expected).trainable, strict=True):
        np.testing.assert_allclose(one, two, atol=2e-6)
    assert float(output.metrics["client_work"]["train"]["loss"]) > 0


@pytest.mark.thorough
def test_our_task_trains_under_tffs_algorithm():
    model = berts.tiny_classifier()
    task = classification.classification(model)
    data = berts.cohort(model)
    process = tff.learning.algorithms.build_weighted_fed_avg(
        task.functional_model(), _sgd(0.1), _sgd(1.0)
    )
    state = process.initialize()
    for _ in range(2):
        output = process.next(state, data)
        state = output.state
    own, own_state, metrics = berts.train(
        model, client_work.LocalWork(optimizers.ClientOptimizer("sgd", 0.1)), 2, data
    )
    theirs = [np.asarray(w) for w in process.get_model_weights(state).trainable]
    berts.assert_same_weights(model, theirs, berts.trainable(own, own_state))
    found = output.metrics["client_work"]["train"]
    expected = metrics[-1]["client_work"]["train"]
    assert float(found["accuracy"]) == pytest.approx(float(expected["accuracy"]), rel=1e-5)


def test_a_task_that_needs_statistics_is_refused():
    task = classification.classification(berts.tiny_classifier(), logit_adjustment=1.0)
    model = task.functional_model()
    with pytest.raises(TypeError, match="classification needs statistics of a client"):
        model.loss(output=tf.zeros([1, 3]), label=tf.zeros([1], tf.int32))


def test_metrics_of_a_functional_model_are_summed():
    metrics = tff.learning.metrics.create_functional_metric_fns(
        lambda: collections.OrderedDict(mse=tf.keras.metrics.MeanSquaredError())
    )
    spec = (tf.TensorSpec([None, 1], tf.float32), tf.TensorSpec([None, 1], tf.float32))

    @tf.function
    def predict(weights, x, training=True):
        return x * weights[0][0]

    @tf.function
    def loss(output, label, sample_weight=None):
        return tf.reduce_mean((output - label) ** 2)

    model = tff.learning.models.FunctionalModel(
        initial_weights=((np.float32(0.5),), ()),
        predict_on_batch_fn=predict,
        loss_fn=loss,
        metrics_fns=metrics,
        input_spec=spec,
    )
    task = foreign_model.from_functional_model(model)
    process = fed_avg.fed_avg(task, client_work.LocalWork(optimizers.ClientOptimizer("sgd", 1e-12)))
    x = np.arange(5, dtype=np.float32)[:, None]
    data = [tf.data.Dataset.from_tensor_slices((x[:n], 2 * x[:n])).batch(2) for n in (5, 3)]
    output = process.next(composition.initial_state(process, task), data)
    joined = np.concatenate([x, x[:3]])
    assert float(output.metrics["client_work"]["train"]["mse"]) == pytest.approx(
        float(np.mean((1.5 * joined) ** 2)), rel=1e-5
    )
