"""FedBuff on quadratics, where each update can be computed by hand."""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.learning import quadratics
from tff_nlp import errors
from tff_nlp.execution import worker
from tff_nlp.learning import client_input, client_work, composition
from tff_nlp.learning.algorithms import fed_avg, fed_buff
from tff_nlp.learning.client_work import LocalWork
from tff_nlp.learning.optimizers import ClientOptimizer
from tff_nlp.privacy import mechanism

STEPS, RATE = 5, 0.1
LOCAL = LocalWork(ClientOptimizer("sgd", RATE), weighting=client_work.UNIFORM)
# (client, whether it begins, its staleness if it arrives, else None) of each round.
ROUNDS = (
    ((0, True, 0), (1, True, None)),
    ((0, True, None), (1, False, 1)),
    ((0, False, 1), (1, True, 0)),
    ((0, True, None), (1, True, None), (2, True, 0)),
    ((0, False, 1), (1, False, 1)),
)


@functools.cache
def process():
    return fed_buff.fed_buff(quadratics.task(), LOCAL)


def run(rounds=ROUNDS):
    """Returns the weight after each round."""
    state, kept, weights = composition.initial_state(process(), quadratics.task()), {}, []
    for jobs in rounds:
        data = [
            client_input.with_values(
                quadratics.client(client % 2, STEPS if begins else 0),
                state=kept.get(client, process().client_specs),
                job=np.float32([begins, 0 if stale is None else fed_buff.discount(stale)]),
            )
            for client, begins, stale in jobs
        ]
        output = process().next(state, data)
        state = output.state
        kept |= dict(zip([job[0] for job in jobs], output.clients, strict=True))
        weights.append(float(process().get_model_weights(state).trainable[0]))
    return weights


def test_updates_move_the_model_by_algorithm_1():
    weight, began, expected = 0.0, {}, []
    for jobs in ROUNDS:
        arrived = []
        for client, begins, stale in jobs:
            if begins:
                began[client] = weight
            if stale is not None:
                start = began.pop(client)
                move = quadratics.local_steps(start, client % 2, STEPS, RATE) - start
                arrived.append(move / np.sqrt(1 + stale))
        weight += np.mean(arrived)
        expected.append(weight)
    assert run() == pytest.approx(expected, abs=1e-6)


def test_if_all_begin_and_arrive_it_is_fed_avg():
    plain = fed_avg.fed_avg(quadratics.task(), LOCAL)
    state = composition.initial_state(plain, quadratics.task())
    for weight in run([((0, True, 0), (1, True, 0))] * 3):
        state = plain.next(state, quadratics.clients(STEPS)).state
        theirs = float(plain.get_model_weights(state).trainable[0])
        assert weight == pytest.approx(theirs, abs=1e-7)


def test_the_same_in_tffs_worker():
    ours = run(ROUNDS[:2])
    with tff.framework.get_context_stack().install(worker.worker_context()):
        assert run(ROUNDS[:2]) == pytest.approx(ours, abs=1e-6)


def test_privacy_and_secure_sums_are_refused():
    private = mechanism.build_aggregator(mechanism.Mechanism("gaussian", 1.0, 2, clipping_norm=1.0))
    with pytest.raises(errors.UserError, match="^algorithm=fedbuff: an update arrives in a later"):
        fed_buff.fed_buff(quadratics.task(), LOCAL, aggregator=private)
    secure = tff.learning.secure_aggregator(weighted=True)
    with pytest.raises(errors.UserError, match="each sends when it is ready"):
        fed_buff.fed_buff(quadratics.task(), LOCAL, aggregator=secure)


def test_a_client_without_a_job_sends_nothing():
    state = composition.initial_state(process(), quadratics.task())
    idle = client_input.with_values(
        quadratics.client(0, STEPS), state=process().client_specs, job=tf.zeros([2])
    )
    begins = client_input.with_values(
        quadratics.client(1, STEPS), state=process().client_specs, job=tf.ones([2])
    )
    both, alone = (process().next(state, data).state for data in ([idle, begins], [begins]))
    assert tf.nest.flatten(both.global_model_weights.trainable) == tf.nest.flatten(
        alone.global_model_weights.trainable
    )
