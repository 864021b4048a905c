"""Weights that stay at their clients, against FedAvg and against training alone."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.learning import conftest as berts
from tests.learning import quadratics
from tests.learning.algorithms.federations import Federation
from tff_nlp import errors
from tff_nlp.execution import forms, ledger
from tff_nlp.learning import client_work, composition
from tff_nlp.learning.algorithms import fed_avg, fed_per, local_parts
from tff_nlp.learning.client_work import LocalWork
from tff_nlp.learning.optimizers import ClientOptimizer
from tff_nlp.privacy import mechanism
from tff_nlp.tasks import classification, foreign_model

STEPS, RATE = 4, 0.1
LOCAL = LocalWork(ClientOptimizer("sgd", RATE), weighting=client_work.UNIFORM)
START = (0.5, -1.0, 2.0, 7.0)


def task():
    """The loss (w_0 + w_1 - b)^2 / 2 + (w_2 - b)^2 / 2, with an unused w_3 and a frozen zero."""
    spec = collections.OrderedDict(
        x=tf.TensorSpec([None, 2], tf.float32), y=tf.TensorSpec([None], tf.float32)
    )

    @tf.function
    def predict(weights, x, training=True):
        (first, second, third, _), (zero,) = weights
        return 0.5 * (first + second - x[:, 1]) ** 2 + 0.5 * (third - x[:, 1]) ** 2 + zero

    @tf.function
    def loss(output, label, sample_weight=None):
        return tf.reduce_mean(output)

    return foreign_model.from_functional_model(
        tff.learning.models.FunctionalModel(
            initial_weights=(tuple(map(np.float32, START)), (np.float32(0.0),)),
            predict_on_batch_fn=predict,
            loss_fn=loss,
            input_spec=spec,
        )
    )


def alone(weights, number):
    """Gradient descent of one client on all weights, by hand."""
    w, b = np.array(weights, np.float64), quadratics.CENTRES[number]
    for _ in range(STEPS):
        first = w[0] + w[1] - b
        w = w - RATE * np.array([first, first, w[2] - b, 0.0])
    return w


def members(*numbers, steps=STEPS):
    return {number: quadratics.client(number, steps) for number in numbers}


def values(weights):
    return [float(w) for w in weights.trainable]


@pytest.mark.thorough
def test_shared_weights_are_averaged_and_local_ones_stay():
    model = task()
    federation = Federation(local_parts.local_parts(model, LOCAL, parts=["weight_1"]), model)
    shared, own = np.array([START[0], *START[2:]]), {}
    for numbers in ((0,), (0, 1), (1,)):
        federation.round(members(*numbers))
        ends = {k: alone([shared[0], own.get(k, START[1]), *shared[1:]], k) for k in numbers}
        own |= {k: end[1] for k, end in ends.items()}
        shared = np.mean([end[[0, 2, 3]] for end in ends.values()], axis=0)
        # The server's local part is still the first one, for clients that have not trained.
        assert values(federation.weights) == pytest.approx(
            [shared[0], START[1], *shared[1:]], abs=1e-5
        )
        for k, part in own.items():
            assert values(federation.own(k)) == pytest.approx(
                [shared[0], part, *shared[1:]], abs=1e-5
            )
    assert [float(w) for w in federation.own(0).non_trainable] == [0.0]


def test_with_all_that_matters_local_each_client_trains_alone():
    model = task()
    process = local_parts.local_parts(model, LOCAL, parts=["weight_0", "weight_1", "weight_2"])
    federation = Federation(process, model)
    expected = [np.array(START), np.array(START)]
    for _ in range(3):
        federation.round(members(0, 1))
        expected = [alone(weights, k) for k, weights in enumerate(expected)]
    for k in range(2):
        assert values(federation.own(k)) == pytest.approx(expected[k], abs=1e-5)


@pytest.mark.slow
def test_with_an_unused_weight_local_it_is_fed_avg():
    model = task()
    federation = Federation(local_parts.local_parts(model, LOCAL, parts=["weight_3"]), model)
    process = fed_avg.fed_avg(model, LOCAL)
    state = composition.initial_state(process, model)
    for _ in range(2):
        metrics = federation.round(members(0, 1))
        output = process.next(state, quadratics.clients(STEPS))
        state = output.state
    assert values(federation.weights) == values(process.get_model_weights(state))
    expected = output.metrics["client_work"]["train"]
    for name, value in metrics["client_work"]["train"].items():
        assert float(value) == float(expected[name]), name


@pytest.mark.thorough
def test_a_client_without_examples_keeps_its_part():
    model = task()
    federation = Federation(local_parts.local_parts(model, LOCAL, parts=["weight_2"]), model)
    federation.round(members(0))
    before = values(federation.own(0))
    federation.round(members(0, steps=0))
    assert values(federation.own(0)) == before


@pytest.mark.thorough
def test_heads_are_neither_sent_nor_received():
    model = berts.tiny_classifier(trainable="biases")
    trained = classification.classification(model)
    assert trained.head == ("head/kernel", "head/bias")
    ours = ledger.of_form(forms.compile_round(fed_per.fed_per(trained, LOCAL).next))
    theirs = ledger.of_form(forms.compile_round(fed_avg.fed_avg(trained, LOCAL).next))
    head = 4 * (berts.SIZES["width"] + 1) * berts.LABELS
    for direction, part in (("down", "weights"), ("up", "update")):
        assert theirs.bytes_of(direction, part) - ours.bytes_of(direction, part) == head
    assert (theirs.down - ours.down, theirs.up - ours.up) == (head, head)
    # A new client needs a head to begin with.
    assert ours.once - theirs.once == head


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: fed_per.fed_per(quadratics.task()), "algorithm=fedper: .*no head"),
        (
            lambda: fed_per.fed_per(
                classification.classification(berts.tiny_classifier(trainable="head"))
            ),
            "algorithm=fedper: only the head trains",
        ),
        (lambda: local_parts.local_parts(task(), parts=["head"]), "parts: head is no trainable"),
        (lambda: local_parts.local_parts(task(), parts=[]), "parts: no weight stays"),
        (
            lambda: local_parts.local_parts(task(), parts=task().trainable_names),
            "parts: no trainable weight is left",
        ),
        (
            lambda: local_parts.local_parts(
                task(),
                LOCAL,
                parts=["weight_0"],
                aggregator=mechanism.build_aggregator(mechanism.Mechanism("distributed", 1.0, 2)),
            ),
            "algorithm=fedper: .*depends on the rounds.*dp=distributed",
        ),
    ],
)
def test_what_does_not_go_together(build, message):
    with pytest.raises(errors.UserError, match=message):
        build()


@pytest.mark.thorough
def test_the_same_in_tffs_worker():
    from tff_nlp.execution import worker

    def begin():
        model = task()
        return Federation(local_parts.local_parts(model, LOCAL, parts=["weight_1"]), model)

    ours, theirs = begin(), begin()
    ours.round(members(0, 1))
    with tff.framework.get_context_stack().install(worker.worker_context()):
        theirs.round(members(0, 1))
    for number in range(2):
        assert values(theirs.own(number)) == pytest.approx(values(ours.own(number)), abs=1e-6)
