"""MimeLite against TFF's, and what it refuses."""

import numpy as np
import pytest
import tensorflow_federated as tff

from tests.learning import conftest as berts
from tests.learning import quadratics
from tff_nlp import errors
from tff_nlp.learning import composition
from tff_nlp.learning.algorithms import mime_lite
from tff_nlp.learning.client_work import LocalWork
from tff_nlp.learning.optimizers import ClientOptimizer, ServerOptimizer
from tff_nlp.privacy import mechanism

_tff = tff.learning.optimizers
BASES = {
    "momentum": (ClientOptimizer("sgd", 0.05, momentum=0.9), _tff.build_sgdm(0.05, 0.9)),
    "adam": (
        ClientOptimizer("adamw", 0.01, epsilon=1e-4),
        _tff.build_adam(0.01, 0.9, 0.999, 1e-4),
    ),
}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("base", "weighting"),
    [
        ("momentum", "examples"),
        ("adam", "uniform"),
        pytest.param("momentum", "uniform", marks=pytest.mark.slow),
        pytest.param("adam", "examples", marks=pytest.mark.slow),
    ],
)
def test_quadratics_equal_tff(base, weighting):
    ours, theirs = BASES[base]
    task, model = quadratics.task(), quadratics.functional_model()
    process = mime_lite.mime_lite(task, LocalWork(ours, weighting=weighting))
    build = {
        "examples": tff.learning.algorithms.build_weighted_mime_lite,
        "uniform": tff.learning.algorithms.build_unweighted_mime_lite,
    }[weighting]
    other = build(model, base_optimizer=theirs)
    state, expected = composition.initial_state(process, task), other.initialize()
    data = [quadratics.client(0, 3), quadratics.client(1, 5)]
    for _ in range(4):
        state, expected = process.next(state, data).state, other.next(expected, data).state
        np.testing.assert_allclose(
            process.get_model_weights(state).trainable[0],
            other.get_model_weights(expected).trainable[0],
            rtol=1e-5,
        )


@pytest.mark.thorough
def test_what_a_client_sends_can_be_changed():
    task, weights = quadratics.task(), []
    for send in (None, lambda update, sums: tuple(2 * u for u in update)):
        process = mime_lite.mime_lite(task, LocalWork(ClientOptimizer("sgd", 0.05), send=send))
        state = composition.initial_state(process, task)
        after = process.next(state, [quadratics.client(0, 3)]).state
        weights.append(float(process.get_model_weights(after).trainable[0]))
    assert weights[1] == pytest.approx(2 * weights[0])


@pytest.mark.slow
def test_a_bert_equals_tff(model, oracle):
    ours, theirs = BASES["momentum"]
    data = berts.cohort(model, epochs=2)
    process, state, _ = berts.train(
        model,
        LocalWork(ours),
        3,
        data,
        algorithm=mime_lite.mime_lite,
        server_optimizer=ServerOptimizer("sgd", 0.5),
    )
    expected, _ = oracle(model).train(
        tff.learning.algorithms.build_weighted_mime_lite(
            oracle(model).model_fn, base_optimizer=theirs, server_optimizer=_tff.build_sgdm(0.5)
        ),
        3,
        data,
    )
    berts.assert_same_weights(model, berts.trainable(process, state), expected)


@pytest.mark.parametrize(
    ("local", "arguments", "message"),
    [
        (LocalWork(ClientOptimizer("adamw", 0.1, weight_decay=0.1)), {}, "client_weight_decay"),
        (LocalWork(ClientOptimizer("sgd", 0.1, clip_norm=1.0)), {}, "client_clip_norm"),
        (
            LocalWork(weighting="uniform"),
            {"aggregator": mechanism.build_aggregator(mechanism.Mechanism("gaussian", 1.0, 2))},
            "algorithm=mime_lite: .*no accountant",
        ),
    ],
)
def test_what_does_not_go_together(local, arguments, message):
    with pytest.raises(errors.UserError, match=message):
        mime_lite.mime_lite(quadratics.task(), local, **arguments)
