import numpy as np
import pytest
import tensorflow as tf

from tests.learning import quadratics
from tff_nlp import errors
from tff_nlp.aggregation.robust import robust_mean
from tff_nlp.learning import attacks, client_input, client_work, composition, optimizers
from tff_nlp.learning.algorithms import ditto, fed_avg, mime_lite, q_fed_avg, scaffold

RATE, STEPS = 0.1, 3


def _local(attack, **others):
    return client_work.LocalWork(
        optimizers.ClientOptimizer("sgd", RATE), weighting="uniform", attack=attack, **others
    )


def _clients(process, marks):
    """The two clients of the quadratics; one mark for each."""
    specs = getattr(process, "client_specs", None)
    return [
        client_input.with_values(
            quadratics.client(number, STEPS), state=specs, attacks=tf.constant(mark)
        )
        for number, mark in enumerate(marks)
    ]


def _weight(process, state):
    return np.asarray(process.get_model_weights(state).trainable[0]).item()


def _round(build, attack, marks):
    """Returns the weight after one round that begins at 0."""
    process = build(quadratics.task(), _local(attack))
    state = composition.initial_state(process, quadratics.task())
    return _weight(process, process.next(state, _clients(process, marks)).state)


def _moves():
    """The way of each honest client from 0."""
    return [quadratics.local_steps(0.0, number, STEPS, RATE) for number in range(2)]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "scale", "factor"), [("sign_flip", 2.0, -2.0), ("scaling", 10.0, 10.0)]
)
@pytest.mark.parametrize(
    "build",
    [
        fed_avg.fed_avg,
        *(
            pytest.param(build, marks=pytest.mark.slow)
            for build in (ditto.ditto, mime_lite.mime_lite, scaffold.scaffold)
        ),
    ],
)
def test_attackers_send_a_multiple_of_their_updates(build, name, scale, factor):
    if build is scaffold.scaffold:

        def build(*arguments):
            return scaffold.scaffold(*arguments, population=2)

    first, second = _moves()
    attack = attacks.Attack(name, scale)
    assert _round(build, attack, [False, False]) == pytest.approx((first + second) / 2, rel=1e-5)
    expected = (first + factor * second) / 2
    assert _round(build, attack, [False, True]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.thorough
def test_the_median_of_three_ignores_one_attacker():
    process = fed_avg.fed_avg(
        quadratics.task(),
        _local(attacks.Attack("scaling", 1e6)),
        aggregator=robust_mean.RobustMeanFactory("median"),
    )
    state = composition.initial_state(process, quadratics.task())
    cohort = [*_clients(process, [False, False]), *_clients(process, [True])]
    first, second = _moves()
    # The attacker sends the first client's update a million times.
    assert _weight(process, process.next(state, cohort).state) == pytest.approx(first, rel=1e-5)
    assert first > second


@pytest.mark.thorough
def test_colluding_attackers_send_the_mean_minus_deviations_of_the_honest():
    process = fed_avg.fed_avg(
        quadratics.task(),
        _local(attacks.Attack("alie", 1.5)),
        aggregator=robust_mean.RobustMeanFactory("mean", little_is_enough=1.5),
    )
    state = composition.initial_state(process, quadratics.task())
    cohort = [*_clients(process, [False, False]), *_clients(process, [True])]
    honest = -np.array(_moves())
    sent = honest.mean() - 1.5 * honest.std()
    expected = -(honest.sum() + sent) / 3
    assert _weight(process, process.next(state, cohort).state) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("build", [scaffold.scaffold, mime_lite.mime_lite, q_fed_avg.q_fed_avg])
def test_robust_rules_are_refused_where_something_else_is_added_up(build):
    others = {"population": 2} if build is scaffold.scaffold else {}
    with pytest.raises(errors.UserError, match="^aggregator=krum: it compares the updates of"):
        build(
            quadratics.task(),
            _local(None),
            aggregator=robust_mean.RobustMeanFactory("krum"),
            **others,
        )


def test_an_unknown_attack_is_refused():
    with pytest.raises(errors.UserError, match="^attack=hack: choose one of label_flip, "):
        attacks.Attack("hack")
