"""FedDF against NumPy, on a linear softmax model."""

import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.learning import quadratics
from tests.learning import softmax_model as linear
from tff_nlp import errors
from tff_nlp.aggregation.compression.coded_mean import CodedMeanFactory
from tff_nlp.aggregation.compression.coding import Coding
from tff_nlp.aggregation.compression.rounding import Rounding
from tff_nlp.execution import forms, ledger, worker
from tff_nlp.learning import composition, distillation
from tff_nlp.learning.algorithms import fed_avg, fed_df
from tff_nlp.learning.client_work import LocalWork
from tff_nlp.learning.optimizers import ClientOptimizer
from tff_nlp.privacy import mechanism

RATE, SERVER_RATE, PASSES = 0.3, 0.7, 2
LOCAL = LocalWork(ClientOptimizer("sgd", RATE))
LEARNING = distillation.Distillation(ClientOptimizer("sgd", SERVER_RATE), PASSES)
SIZES = (10, 3, 6)


@functools.cache
def begin(local=LOCAL, **arguments):
    """Returns a process, which is compiled once for all tests, and its first state."""
    task = linear.task()
    process = fed_df.fed_df(task, local, public=linear.public(), learning=LEARNING, **arguments)
    return process, composition.initial_state(process, task)


def cohort(sizes=SIZES):
    return [linear.dataset(seed, size) for seed, size in enumerate(sizes)]


def only(process, state):
    (weights,) = process.get_model_weights(state).trainable
    return np.asarray(weights)


@pytest.mark.thorough
def test_each_round_is_algorithm_1():
    process, state = begin()
    expected = linear.START.astype(np.float64)
    for _ in range(2):
        state = process.next(state, cohort()).state
        ends = [linear.train(expected, seed, size, RATE) for seed, size in enumerate(SIZES)]
        mean = np.average(ends, axis=0, weights=SIZES)
        targets = linear.softmax(np.mean([linear.ROWS @ end for end in ends], axis=0))
        expected = linear.distil(mean, targets, SERVER_RATE, PASSES)
        np.testing.assert_allclose(only(process, state), expected, atol=2e-5)
        assert np.abs(expected - mean).max() > 1e-3


def test_a_client_without_examples_teaches_nothing():
    process, state = begin()
    one = process.next(state, cohort((10,))).state
    two = process.next(state, cohort((10, 0))).state
    np.testing.assert_allclose(only(process, one), only(process, two), atol=1e-6)
    unchanged = process.next(state, cohort((0, 0))).state
    np.testing.assert_array_equal(only(process, unchanged), linear.START)


@pytest.mark.thorough
def test_a_model_that_equals_its_teacher_does_not_change():
    task = linear.task()
    start = tf.constant(linear.START)
    targets = distillation.targets(
        distillation.to_send(distillation.logits(task, [start], [], linear.public()))
    )
    after, loss = distillation.distil(
        task, LEARNING, [start], [], linear.public(), targets, round_seed=tf.constant([0, 0])
    )
    assert abs(float(loss)) < 1e-6
    np.testing.assert_allclose(after[0], start, atol=1e-6)
    # A step too small for a float leaves the client at the server's weights.
    still = LocalWork(ClientOptimizer("sgd", 1e-30))
    process, state = begin(still)
    state = process.next(state, cohort((4,))).state
    np.testing.assert_allclose(only(process, state), linear.START, atol=1e-6)


def test_bytes_are_those_of_fed_avg_and_of_the_logits():
    plain = fed_avg.fed_avg(linear.task(), LOCAL)
    ours, theirs = (ledger.of_form(forms.compile_round(p.next)) for p in (begin()[0], plain))
    assert (ours.down, ours.once) == (theirs.down, theirs.once)
    of_logits = linear.PUBLIC * linear.CATEGORIES * 4
    assert ours.up == theirs.up + of_logits + 4  # and their weight, which is 0 or 1


def test_the_same_in_tffs_worker():
    process, state = begin()
    ours = process.next(state, cohort()).state
    with tff.framework.get_context_stack().install(worker.worker_context()):
        theirs = process.next(state, cohort()).state
    np.testing.assert_allclose(only(process, ours), only(process, theirs), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("aggregator", "bound"),
    [
        (tff.learning.secure_aggregator(zeroing=False, clipping=False), 1e-3),
        # Both the update and the logits have steps of a 127th of their largest number or so.
        (CodedMeanFactory(Coding(Rounding(8), 0)), 0.1),
    ],
)
def test_sums_of_integers_suffice(aggregator, bound):
    process, state = begin(aggregator=aggregator)
    plain, first = begin()
    np.testing.assert_allclose(
        only(process, process.next(state, cohort()).state),
        only(plain, plain.next(first, cohort()).state),
        atol=bound,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"aggregator": mechanism.build_aggregator(mechanism.Mechanism("gaussian", 1.0, 2))},
            "algorithm=feddf: .*no accountant",
        ),
        ({"task": quadratics.task()}, "algorithm=feddf: .*no categories"),
    ],
)
def test_what_does_not_go_together(arguments, message):
    task = arguments.pop("task", linear.task())
    with pytest.raises(errors.UserError, match=message):
        fed_df.fed_df(task, LOCAL, public=linear.public(), **arguments)


def test_mistakes_in_settings():
    with pytest.raises(errors.UserError, match="distillation_epochs=0"):
        dataclasses.replace(LEARNING, epochs=0)
    with pytest.raises(errors.UserError, match="no public texts"):
        distillation.PublicTexts([], [])
    with pytest.raises(ValueError, match="positions"):
        distillation.PublicTexts([linear.ROWS[:2]], [np.array([0, 2])])
