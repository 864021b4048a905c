"""FedMD and DS-FL against NumPy, on a linear softmax model."""

import dataclasses
import functools

import numpy as np
import pytest
import tensorflow_federated as tff

from tests.learning import quadratics
from tests.learning import softmax_model as linear
from tests.learning.algorithms.federations import Federation
from tff_nlp import errors
from tff_nlp.aggregation.factor_products import FactorMeanFactory
from tff_nlp.execution import forms, ledger, worker
from tff_nlp.learning import client_input, composition, distillation, logit_rounds
from tff_nlp.learning.algorithms import ds_fl, fed_md
from tff_nlp.learning.client_work import LocalWork
from tff_nlp.learning.optimizers import ClientOptimizer
from tff_nlp.privacy import mechanism

RATE, LEARNING_RATE, PASSES, TEMPERATURE = 0.3, 0.7, 2, 0.5
LOCAL = LocalWork(ClientOptimizer("sgd", RATE), weighting="uniform")
LEARNING = distillation.Distillation(ClientOptimizer("sgd", LEARNING_RATE), PASSES)
SIZES = {0: 10, 1: 3, 2: 6}
MATRIX = linear.PUBLIC * linear.CATEGORIES * 4
ALGORITHMS = {
    "fedmd": fed_md.fed_md,
    "dsfl": functools.partial(ds_fl.ds_fl, temperature=TEMPERATURE),
}


def build(algorithm, local=LOCAL, task=None, **arguments):
    task = task or linear.task()
    public = arguments.pop("public", linear.public())
    return ALGORITHMS[algorithm](task, local, public=public, learning=LEARNING, **arguments), task


@functools.cache
def built(algorithm):
    """A process is compiled once for all tests."""
    return build(algorithm)


def begin(algorithm):
    return Federation(*built(algorithm))


def members(*numbers):
    return {number: linear.dataset(number, SIZES[number]) for number in numbers}


def targets_of(algorithm, ends):
    logits = [linear.ROWS @ end for end in ends]
    if algorithm == "fedmd":
        return linear.softmax(np.mean(logits, axis=0))
    return linear.softmax(np.mean([linear.softmax(z) for z in logits], axis=0) / TEMPERATURE)


@pytest.mark.thorough
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_round_is_that_of_the_paper(algorithm):
    federation = begin(algorithm)
    start = linear.START.astype(np.float64)
    server, own, targets = start, {}, None
    for numbers in ((0, 1), (1, 2), (0, 1, 2)):
        federation.round(members(*numbers))
        for k in numbers:
            # A client that takes part for the first time begins with the initial model.
            model = own.get(k, start)
            if targets is not None:
                model = linear.distil(model, targets, LEARNING_RATE, PASSES)
            own[k] = linear.train(model, k, SIZES[k], RATE)
        targets = targets_of(algorithm, [own[k] for k in numbers])
        server = linear.distil(server, targets, LEARNING_RATE, PASSES)
        np.testing.assert_allclose(federation.weights.trainable[0], server, atol=5e-5)
        for k, model in own.items():
            np.testing.assert_allclose(federation.own(k).trainable[0], model, atol=5e-5)
    assert np.abs(server - start).max() > 0.1


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_only_outputs_are_sent_and_received(algorithm):
    process, task = built(algorithm)
    sent = ledger.of_form(forms.compile_round(process.next))
    assert sent.bytes_of("up", "update") == MATRIX
    assert sent.down == MATRIX + 4  # and the round number
    assert sent.once == sum(w.nbytes for part in task.initial_weights() for w in part)


def test_nobody_takes_part():
    federation = begin("fedmd")
    federation.round(members(0))
    before = federation.weights.trainable[0]
    metrics = federation.round({})
    np.testing.assert_array_equal(federation.weights.trainable[0], before)
    assert int(metrics["finalizer"]["update_non_finite"]) == 1
    # The targets of the round before are still there.
    again = begin("fedmd")
    again.round(members(0))
    for one in (federation, again):
        one.round(members(0))
    np.testing.assert_array_equal(federation.own(0).trainable[0], again.own(0).trainable[0])


@pytest.mark.thorough
@pytest.mark.parametrize("algorithm", ["fedmd", pytest.param("dsfl", marks=pytest.mark.slow)])
def test_the_same_in_tffs_worker(algorithm):
    ours, theirs = begin(algorithm), begin(algorithm)
    for _ in range(2):
        ours.round(members(0, 1))
        with tff.framework.get_context_stack().install(worker.worker_context()):
            theirs.round(members(0, 1))
    np.testing.assert_allclose(ours.weights.trainable[0], theirs.weights.trainable[0], atol=1e-6)
    for number in range(2):
        np.testing.assert_allclose(ours.kept[number][0], theirs.kept[number][0], atol=1e-6)


@pytest.mark.thorough
def test_the_matrix_of_a_client_is_one_update_that_is_clipped():
    """Without noise, clipping to a tenth of a norm divides the mean of one client by ten."""
    logits = linear.ROWS @ linear.train(linear.START, 0, SIZES[0], RATE)
    centred = logits - logits.mean(axis=1, keepdims=True)
    norm = float(np.sqrt(np.mean(np.sum(centred**2, axis=1))))
    private = mechanism.Mechanism("gaussian", 0.0, 1, clipping_norm=norm / 10)
    aggregator = mechanism.build_aggregator(private)
    federation = Federation(*build("fedmd", aggregator=aggregator))
    assert federation.process.conduct.aggregator.mechanism == "gaussian"
    key = np.arange(1, 9, dtype=np.uint32)
    state = federation.state
    federation.state = state._replace(aggregator=mechanism.with_key(state.aggregator, key))
    federation.round(members(0))
    expected = linear.distil(linear.START, linear.softmax(centred / 10), LEARNING_RATE, PASSES)
    np.testing.assert_allclose(federation.weights.trainable[0], expected, atol=1e-5)


def mixed():
    """A server and clients of two kinds: the server's, and a model that reads two features."""
    task = linear.task()
    other = linear.task(linear.START[:2])
    # The other kind reads the public texts in other batches.
    positions = (np.arange(5)[::-1], np.array([5, 6]))
    rows = distillation.PublicTexts([linear.ROWS[p] for p in positions], positions)
    kinds = [logit_rounds.Kind(task, linear.public()), logit_rounds.Kind(other, rows)]
    return (*build("fedmd", task=task, kinds=kinds), positions)


def mixed_round(process, state, kept):
    """Client 1 has the other kind."""
    data = [
        client_input.with_values(dataset, state=own, kind=np.int32(number == 1))
        for (number, dataset), own in zip(members(0, 1, 2).items(), kept, strict=True)
    ]
    output = process.next(state, data)
    return output.state, output.clients


@pytest.mark.thorough
def test_clients_of_two_kinds():
    process, task, positions = mixed()
    assert process.own_model is None
    state = composition.initial_state(process, task)
    kept = [process.client_specs] * 3
    server, targets = linear.START, None
    own = [linear.START, linear.START[:2], linear.START]
    for _ in range(2):
        state, kept = mixed_round(process, state, kept)
        for k, model in enumerate(own):
            if targets is not None:
                of_kind = linear.POSITIONS if k != 1 else positions
                model = linear.distil(model, targets, LEARNING_RATE, PASSES, of_kind)
            own[k] = linear.train(model, k, SIZES[k], RATE)
        logits = [linear.ROWS[:, : len(model)] @ model for model in own]
        targets = linear.softmax(np.mean(logits, axis=0))
        server = linear.distil(server, targets, LEARNING_RATE, PASSES)
        (found,) = process.get_model_weights(state).trainable
        np.testing.assert_allclose(found, server, atol=5e-5)
        for model, (vector,) in zip(own, kept, strict=True):
            np.testing.assert_allclose(vector, model.reshape(-1), atol=5e-5)


@pytest.mark.slow
def test_clients_of_two_kinds_in_tffs_worker():
    process, task, _ = mixed()
    first = composition.initial_state(process, task)
    state, kept = mixed_round(process, first, [process.client_specs] * 3)
    with tff.framework.get_context_stack().install(worker.worker_context()):
        other, theirs = mixed_round(process, first, [process.client_specs] * 3)
    for one, two in zip(kept, theirs, strict=True):
        np.testing.assert_allclose(one[0], two[0], atol=1e-6)
    ours, same = (process.get_model_weights(s).trainable[0] for s in (state, other))
    np.testing.assert_allclose(ours, same, atol=1e-6)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": quadratics.task()}, "algorithm={}: .*no categories"),
        ({"aggregator": FactorMeanFactory("fedex", [])}, "algorithm={} sends no weights"),
        (
            {"local": dataclasses.replace(LOCAL, weighting="examples"), "dp": True},
            "weighting=examples: the accountant",
        ),
    ],
)
def test_what_does_not_go_together(algorithm, arguments, message):
    arguments = dict(arguments)
    if arguments.pop("dp", False):
        private = mechanism.Mechanism("gaussian", 1.0, 2)
        arguments["aggregator"] = mechanism.build_aggregator(private)
    with pytest.raises(errors.UserError, match=message.format(algorithm)):
        build(algorithm, **arguments)


def test_a_temperature_out_of_range():
    with pytest.raises(errors.UserError, match="dsfl_temperature=0"):
        ds_fl.ds_fl(linear.task(), LOCAL, public=linear.public(), temperature=0.0)
