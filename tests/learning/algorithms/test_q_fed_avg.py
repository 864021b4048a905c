"""q-FedAvg on quadratics, against algorithm 2 of the paper by hand."""

import collections
import functools

import numpy as np
import pytest
import tensorflow_federated as tff

from tests.learning import quadratics
from tff_nlp import errors
from tff_nlp.aggregation.compression.coded_mean import CodedMeanFactory
from tff_nlp.aggregation.compression.coding import Coding
from tff_nlp.aggregation.compression.rounding import Rounding
from tff_nlp.execution import forms, ledger
from tff_nlp.learning import client_work, composition
from tff_nlp.learning.algorithms import fed_avg, q_fed_avg
from tff_nlp.learning.client_work import LocalWork
from tff_nlp.learning.optimizers import ClientOptimizer
from tff_nlp.privacy import mechanism

STEPS, RATE, START = 5, 0.1, 0.5
LOCAL = LocalWork(ClientOptimizer("sgd", RATE), weighting=client_work.UNIFORM)


@functools.cache
def process_of(fairness):
    """Returns a process, which is compiled once for all tests."""
    return q_fed_avg.q_fed_avg(quadratics.task(START), LOCAL, fairness=fairness)


def train(process, rounds, data=None):
    """Returns the weight after each round."""
    state = composition.initial_state(process, quadratics.task(START))
    weights = []
    for _ in range(rounds):
        state = process.next(state, data or quadratics.clients(STEPS)).state
        weights.append(float(process.get_model_weights(state).trainable[0]))
    return weights


def losses(weight):
    return quadratics.CURVATURES / 2 * (weight - quadratics.CENTRES) ** 2


def by_hand(weight, q, shares=(1.0, 1.0)):
    """A round as the paper writes it: Delta_k and h_k with L = 1 / step size."""
    smoothness, loss = 1 / RATE, losses(weight)
    ends = np.array([quadratics.local_steps(weight, k, STEPS, RATE) for k in range(2)])
    change = smoothness * (weight - ends)
    delta = loss**q * change
    h = q * loss ** (q - 1) * change**2 + smoothness * loss**q
    shares = np.array(shares)
    return weight - np.sum(shares * delta) / np.sum(shares * h)


@pytest.mark.parametrize("q", [0.5, 2.0])
def test_each_round_is_algorithm_2(q):
    weight, expected = START, []
    for _ in range(3):
        weight = by_hand(weight, q)
        expected.append(weight)
    assert train(process_of(q), 3) == pytest.approx(expected, abs=1e-5)


@pytest.mark.thorough
def test_q_0_is_fed_avg_with_its_bytes():
    ours = process_of(0.0)
    theirs = fed_avg.fed_avg(quadratics.task(START), LOCAL)
    assert train(ours, 3) == pytest.approx(train(theirs, 3), abs=1e-7)
    assert ledger.of_form(forms.compile_round(ours.next)) == ledger.of_form(
        forms.compile_round(theirs.next)
    )


@pytest.mark.slow
def test_a_larger_q_makes_the_losses_more_equal():
    spreads = []
    for q in (0.0, 5.0):
        spreads.append(np.ptp(losses(train(process_of(q), 20)[-1])))
    assert spreads[1] < spreads[0] / 2


@pytest.mark.thorough
def test_a_client_with_more_examples_weighs_more():
    """An epoch of twice as many examples has the weight of two clients."""
    rows = quadratics.client(1, 1).unbatch().repeat(2).batch(2).repeat(STEPS)
    by_examples = LocalWork(ClientOptimizer("sgd", RATE))
    process = q_fed_avg.q_fed_avg(quadratics.task(START), by_examples, fairness=1.0)
    (weight,) = train(process, 1, [quadratics.client(0, STEPS), rows])
    assert weight == pytest.approx(by_hand(START, 1.0, shares=(1.0, 2.0)), abs=1e-5)


@pytest.mark.slow
def test_updates_may_be_rounded_or_summed_securely():
    """One weight is rounded to itself; the secure sum has steps of its own."""
    for aggregator, tolerance in (
        (CodedMeanFactory(Coding(Rounding(8), 0)), 1e-5),
        (tff.learning.secure_aggregator(zeroing=False, weighted=True), 2e-3),
    ):
        process = q_fed_avg.q_fed_avg(
            quadratics.task(START), LOCAL, fairness=1.0, aggregator=aggregator
        )
        assert train(process, 1)[0] == pytest.approx(by_hand(START, 1.0), abs=tolerance)


def test_a_loss_of_zero_is_no_division_by_zero():
    centre = float(quadratics.CENTRES[0])
    process = q_fed_avg.q_fed_avg(quadratics.task(centre), LOCAL, fairness=0.5)
    state = composition.initial_state(process, quadratics.task(centre))
    state = process.next(state, [quadratics.client(0, STEPS)]).state
    assert float(process.get_model_weights(state).trainable[0]) == centre


def test_a_client_with_a_loss_of_nan_is_left_out():
    rows = quadratics.client(0, STEPS)
    broken = rows.map(lambda batch: collections.OrderedDict(batch, x=batch["x"] * np.nan))
    process = process_of(1.0)
    alone = train(process, 1, [quadratics.client(1, STEPS)])
    assert train(process, 1, [broken, quadratics.client(1, STEPS)]) == alone


@pytest.mark.parametrize(
    ("local", "arguments", "message"),
    [
        (LocalWork(ClientOptimizer("adamw", 0.1)), {}, "client_optimizer=adamw: .*plain sgd"),
        (LOCAL, {"fairness": -1.0}, "fairness_q=-1.0"),
        (
            LOCAL,
            {"aggregator": mechanism.build_aggregator(mechanism.Mechanism("gaussian", 1.0, 2))},
            "algorithm=qfedavg: the loss of a client is its weight.*no accountant",
        ),
        (
            LOCAL,
            {"aggregator": tff.aggregators.UnweightedMeanFactory()},
            "algorithm=qfedavg: the aggregator ignores weights",
        ),
    ],
)
def test_what_does_not_go_together(local, arguments, message):
    with pytest.raises(errors.UserError, match=message):
        q_fed_avg.q_fed_avg(quadratics.task(), local, **arguments)


def test_the_same_in_tffs_worker():
    from tff_nlp.execution import worker

    process = process_of(1.0)
    ours = train(process, 1)
    with tff.framework.get_context_stack().install(worker.worker_context()):
        assert train(process, 1) == pytest.approx(ours, abs=1e-6)
