"""Local steps after training, against TFF's evaluation of personalized models."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.learning import conftest as berts
from tff_nlp.learning import fine_tuning
from tff_nlp.learning.client_work import LocalWork
from tff_nlp.learning.optimizers import ClientOptimizer
from tff_nlp.tasks import classification
from tff_nlp.tasks import task as tasks

RATE, STEPS = 0.5, 3


@tf.function
def evaluate(model, dataset):
    """TFF's part: mean loss of a model on unbatched examples."""
    (batch,) = [next(iter(dataset.batch(100)))]
    return collections.OrderedDict(loss=model.forward_pass(batch, training=False).loss)


def personalize():
    @tf.function
    def train(model, train_data, test_data):
        for batch in train_data.batch(4).take(STEPS):
            with tf.GradientTape() as tape:
                loss = model.forward_pass(batch, training=True).loss
            gradients = tape.gradient(loss, model.trainable_variables)
            for place, weight in enumerate(model.trainable_variables):
                weight.assign_sub(RATE * tf.convert_to_tensor(gradients[place]))
        return evaluate(model, test_data)

    return train


@pytest.mark.thorough
def test_a_clients_numbers_are_those_of_tff(oracle):
    model = berts.tiny_classifier(trainable="head")
    task = classification.classification(model)
    weights = tff.learning.models.ModelWeights(*model.initial_weights())
    examples, tested = (berts.client_rows(model, seed, 14) for seed in (1, 2))
    tune = fine_tuning.fine_tuner(task, LocalWork(ClientOptimizer("sgd", RATE)))
    tuned = tune(weights, berts.batches(*examples), STEPS)
    found = [mean_loss(task, w, tested) for w in (weights, tuned)]

    computation = tff.learning.algorithms.build_personalization_eval_computation(
        oracle(model, trainable="head").model_fn, collections.OrderedDict(sgd=personalize), evaluate
    )
    data = collections.OrderedDict(
        train_data=berts.batches(*examples).unbatch(), test_data=berts.batches(*tested).unbatch()
    )
    theirs = computation(tff.learning.models.ModelWeights(*map(tuple, weights)), [data])
    expected = [float(theirs[name]["loss"][0]) for name in ("baseline_metrics", "sgd")]
    assert found == pytest.approx(expected, rel=1e-5)
    assert abs(found[0] - found[1]) > 1e-3


def mean_loss(task, weights, rows):
    x, y = (tf.constant(part) for part in rows)
    losses = task.losses(weights.trainable, weights.non_trainable, task.inputs(x), y)
    sums = tasks.with_totals(losses)
    return float(sums["loss_sum"] / sums["weight_sum"])


def test_no_step_changes_nothing_and_a_loss_that_overflows_neither():
    model = berts.tiny_classifier(trainable="head")
    task = classification.classification(model)
    weights = tff.learning.models.ModelWeights(*model.initial_weights())
    data = berts.client(model, 0)
    for rate, steps in ((0.1, 0), (1e38, 4)):
        tune = fine_tuning.fine_tuner(task, LocalWork(ClientOptimizer("sgd", rate)))
        for one, other in zip(tune(weights, data, steps).trainable, weights.trainable, strict=True):
            np.testing.assert_array_equal(one, other)
