"""Ditto on quadratics, where the models of the clients are known."""

import functools

import numpy as np
import pytest

from tests.learning import conftest as berts
from tests.learning import quadratics
from tests.learning.algorithms.federations import Federation
from tff_nlp import errors
from tff_nlp.execution import forms, ledger
from tff_nlp.learning import client_work
from tff_nlp.learning.algorithms import ditto
from tff_nlp.learning.client_work import LocalWork
from tff_nlp.learning.optimizers import ClientOptimizer
from tff_nlp.privacy import mechanism
from tff_nlp.tasks import classification

STEPS, RATE, STRENGTH = 5, 0.1, 0.5
LOCAL = LocalWork(ClientOptimizer("sgd", RATE), weighting=client_work.UNIFORM)


@functools.cache
def process_of(strength, **arguments):
    """Returns a process, which is compiled once for all tests."""
    return ditto.ditto(quadratics.task(), LOCAL, strength=strength, **arguments)


def begin(strength=STRENGTH, **arguments):
    return Federation(process_of(strength, **arguments), quadratics.task())


def members(*numbers, steps=STEPS):
    return {number: quadratics.client(number, steps) for number in numbers}


@pytest.mark.thorough
def test_the_models_of_clients_end_between_their_optimum_and_the_shared_model():
    federation = begin()
    for _ in range(30):
        federation.round(members(0, 1))
    shared = float(federation.weights.trainable[0])
    assert shared == pytest.approx(quadratics.fixed_point_of_fed_avg(STEPS, RATE), abs=1e-5)
    for number in range(2):
        curvature, centre = quadratics.CURVATURES[number], quadratics.CENTRES[number]
        optimum = (curvature * centre + STRENGTH * shared) / (curvature + STRENGTH)
        assert float(federation.own(number).trainable[0]) == pytest.approx(optimum, abs=1e-5)


def test_each_round_is_algorithm_1():
    federation, shared, own = begin(), 0.0, {}
    for numbers in ((0, 1), (1,), (0,), (0, 1)):
        federation.round(members(*numbers))
        ends = []
        for k in numbers:
            # A client that takes part for the first time begins with the shared model.
            v = own.get(k, shared)
            for _ in range(STEPS):
                gradient = quadratics.CURVATURES[k] * (v - quadratics.CENTRES[k])
                v -= RATE * (gradient + STRENGTH * (v - shared))
            own[k] = v
            ends.append(quadratics.local_steps(shared, k, STEPS, RATE))
        shared = float(np.mean(ends))
        assert float(federation.weights.trainable[0]) == pytest.approx(shared, abs=1e-5)
        for k, v in own.items():
            assert float(federation.own(k).trainable[0]) == pytest.approx(v, abs=1e-5)


@pytest.mark.slow
def test_the_shared_model_is_that_of_fed_avg_and_nothing_else_is_sent():
    model = berts.tiny_classifier(trainable="head")
    task = classification.classification(model)
    local = LocalWork(ClientOptimizer("adamw", 0.01))
    federation = Federation(ditto.ditto(task, local, strength=2.0), task)
    data = berts.cohort(model)
    for _ in range(2):
        federation.round(dict(enumerate(data)))
    process, state, _ = berts.train(model, local, 2, data)
    for one, other in zip(
        federation.weights.trainable, berts.trainable(process, state), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    ours, theirs = (
        ledger.of_form(forms.compile_round(p.next)) for p in (federation.process, process)
    )
    assert (ours.down, ours.up, ours.once) == (theirs.down, theirs.up, theirs.once)


@pytest.mark.slow
def test_rows_that_a_client_does_not_read_follow_the_shared_model(model):
    """The term pulls all rows of the embedding, and not only those of the client's own words."""
    task = classification.classification(model)
    tokens = np.arange(5, 25)
    own = berts.batches(*berts.client_rows(model, 0, 8, tokens=tokens))
    others = berts.batches(*berts.client_rows(model, 1, 8, tokens=tokens + 20))
    local = LocalWork(ClientOptimizer("sgd", 0.5))
    federation = Federation(ditto.ditto(task, local, strength=1.0), task)
    federation.round({0: own, 1: others})
    before = federation.own(0).trainable[task.table.weight]
    shared = federation.weights.trainable[task.table.weight]
    federation.round({0: own})
    after = federation.own(0).trainable[task.table.weight]
    row = 30
    assert np.abs(shared[row] - before[row]).max() > 0
    # Two batches are two steps of size 0.5 towards the shared row.
    expected = shared[row] + 0.25 * (before[row] - shared[row])
    np.testing.assert_allclose(after[row], expected, atol=1e-7)


def test_a_client_without_examples_keeps_its_model():
    federation = begin()
    federation.round(members(0, 1))
    before = float(federation.own(0).trainable[0])
    federation.round(members(0, steps=0))
    assert float(federation.own(0).trainable[0]) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strength": 0.0}, "ditto_strength=0.0"),
        ({"strength": float("inf")}, "ditto_strength=inf"),
        (
            {"aggregator": mechanism.build_aggregator(mechanism.Mechanism("distributed", 1.0, 2))},
            "algorithm=ditto: .*do not add the noise of dp=distributed",
        ),
    ],
)
def test_what_does_not_go_together(arguments, message):
    with pytest.raises(errors.UserError, match=message):
        begin(**arguments)


def test_the_same_in_tffs_worker():
    import tensorflow_federated as tff

    from tff_nlp.execution import worker

    ours, theirs = begin(), begin()
    ours.round(members(0, 1))
    with tff.framework.get_context_stack().install(worker.worker_context()):
        theirs.round(members(0, 1))
    assert float(theirs.weights.trainable[0]) == pytest.approx(
        float(ours.weights.trainable[0]), abs=1e-6
    )
    for number in range(2):
        assert float(theirs.kept[number][0]) == pytest.approx(float(ours.kept[number][0]), abs=1e-6)
