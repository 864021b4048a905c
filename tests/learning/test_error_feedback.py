"""Clients that keep what a codec lost, against the same rounds in NumPy."""

import functools

import numpy as np
import pytest
import tensorflow_federated as tff

from tests.learning import softmax_model as linear
from tests.learning.algorithms.federations import Federation
from tff_nlp import errors
from tff_nlp.aggregation.compression import coded_mean, coding, rounding, signs, top_k
from tff_nlp.aggregation.robust import robust_mean
from tff_nlp.execution import forms, ledger
from tff_nlp.learning import client_work, composition
from tff_nlp.learning.algorithms import ditto, fed_avg, fed_prox, mime_lite
from tff_nlp.learning.client_work import LocalWork
from tff_nlp.learning.optimizers import ClientOptimizer

RATE, COUNTS = 0.2, (8, 12, 4)
LOCAL = LocalWork(ClientOptimizer("sgd", RATE), weighting=client_work.UNIFORM)
# The clients of each round.
COHORTS = ((0, 1, 2), (1,), (0, 2), (0, 1, 2))
SIGNS = coding.Coding(signs.Signs(), 0)


@functools.cache
def process_of(coded):
    return fed_avg.fed_avg(linear.task(), LOCAL, aggregator=coded_mean.CodedMeanFactory(coded))


def members(numbers):
    return {number: linear.dataset(number, COUNTS[number]) for number in numbers}


def by_hand(code):
    """Returns the weights after each round, with a function that encodes and decodes."""
    weights, lost, found = linear.START.astype(float), np.zeros((3, *linear.START.shape)), []
    for numbers in COHORTS:
        sent = []
        for number in numbers:
            update = weights - linear.train(weights, number, COUNTS[number], RATE)
            total = update + lost[number]
            sent.append(code(total))
            lost[number] = total - sent[-1]
        weights = weights - np.mean(sent, axis=0)
        found.append(weights)
    return found


def largest(total, kept=3):
    chosen = np.argsort(-np.abs(total).ravel())[:kept]
    sent = np.zeros(total.size)
    sent[chosen] = total.ravel()[chosen]
    return sent.reshape(total.shape)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("codec", "code"),
    [
        (signs.Signs(), lambda total: np.where(total >= 0, 1, -1) * np.abs(total).mean()),
        (top_k.TopK(0.25), largest),
    ],
)
def test_each_round_sends_what_was_lost_before(codec, code):
    federation = Federation(process_of(coding.Coding(codec, 0)), linear.task())
    for numbers, expected in zip(COHORTS, by_hand(code), strict=True):
        federation.round(members(numbers))
        np.testing.assert_allclose(federation.weights.trainable[0], expected, atol=1e-5)


def test_without_feedback_nothing_is_kept():
    coded = coding.Coding(signs.Signs(), 0, error_feedback=False)
    process = process_of(coded)
    assert not hasattr(process, "client_specs")
    state = composition.initial_state(process, linear.task())
    state = process.next(state, list(members([0]).values())).state
    moved = linear.START - process.get_model_weights(state).trainable[0]
    update = linear.START - linear.train(linear.START, 0, COUNTS[0], RATE)
    np.testing.assert_allclose(np.abs(moved), np.abs(update).mean(), rtol=1e-4)


@pytest.mark.thorough
def test_fedprox_robust_rules_and_own_models_keep_errors_too():
    rule = robust_mean.RobustMeanFactory("median", clients=3, coding=SIGNS)
    for process, own in (
        (fed_prox.fed_prox(linear.task(), LOCAL, aggregator=rule), 0),
        (ditto.ditto(linear.task(), LOCAL, aggregator=coded_mean.CodedMeanFactory(SIGNS)), 1),
    ):
        assert len(process.client_specs) == own + 1
        federation = Federation(process, linear.task())
        federation.round(members([0, 1, 2]))
        kept = np.array([federation.kept[number][own] for number in range(3)])
        assert np.abs(kept).sum(axis=(1, 2)).min() > 0
        if own:
            assert federation.own(0).trainable[0].shape == linear.START.shape


def test_only_bits_are_sent_up():
    plain = fed_avg.fed_avg(linear.task(), LOCAL)
    ups = [ledger.of_form(forms.compile_round(p.next)).up for p in (plain, process_of(SIGNS))]
    numbers = linear.START.size
    assert ups[0] - ups[1] == 4 * numbers - ((numbers + 7) // 8 + 4)
    # Even if there are more bytes of metrics.
    found = ledger.of_form(forms.compile_round(process_of(SIGNS).next))
    assert found.bytes_of("up", "update") == (numbers + 7) // 8 + 4


def test_an_algorithm_that_keeps_nothing_is_refused():
    aggregator = coded_mean.CodedMeanFactory(SIGNS)
    with pytest.raises(errors.UserError, match="error_feedback=false"):
        mime_lite.mime_lite(linear.task(), LOCAL, aggregator=aggregator)


def test_so_is_an_aggregator_around_the_codec():
    around = tff.aggregators.zeroing_factory(9.0, coded_mean.CodedMeanFactory(SIGNS))
    with pytest.raises(errors.UserError, match="inside of another aggregator"):
        fed_avg.fed_avg(linear.task(), LOCAL, aggregator=around)
    rounded = coded_mean.CodedMeanFactory(coding.Coding(rounding.Rounding(8), 0))
    fed_avg.fed_avg(linear.task(), LOCAL, aggregator=tff.aggregators.zeroing_factory(9.0, rounded))
