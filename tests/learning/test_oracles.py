"""Our processes against `tff.learning.algorithms` on the same clients."""

import pytest
import tensorflow_federated as tff

from tests.learning.conftest import (
    assert_same_weights,
    cohort,
    tiny_classifier,
    train,
    trainable,
)
from tff_nlp.learning.client_work import LocalWork
from tff_nlp.learning.optimizers import ClientOptimizer, ServerOptimizer
from tff_nlp.learning.transforms.transform import GradientTransform

ROUNDS = 3
_tff = tff.learning.optimizers
_weightings = {
    "examples": tff.learning.ClientWeighting.NUM_EXAMPLES,
    "uniform": tff.learning.ClientWeighting.UNIFORM,
}

# Our client optimizer and TFF's. Adam with an epsilon that leaves no say to rounding errors: the
# attention's key biases have a gradient of zero but for those.
CLIENTS = {
    "sgd": (ClientOptimizer("sgd", 0.1), _tff.build_sgdm(0.1)),
    "momentum": (ClientOptimizer("sgd", 0.05, momentum=0.9), _tff.build_sgdm(0.05, 0.9)),
    "adamw": (
        ClientOptimizer("adamw", 0.01, epsilon=1e-4),
        _tff.build_adamw(0.01, epsilon=1e-4, weight_decay=0.0),
    ),
}
SERVERS = {
    "sgd": (ServerOptimizer("sgd", 1.0), _tff.build_sgdm(1.0)),
    "momentum": (ServerOptimizer("sgd", 0.5, momentum=0.9), _tff.build_sgdm(0.5, 0.9)),
    "adam": (ServerOptimizer("adam", 0.02), _tff.build_adam(0.02, 0.9, 0.99, 1e-3)),
    "yogi": (ServerOptimizer("yogi", 0.02), _tff.build_yogi(0.02, 0.9, 0.99, 1e-3, 1e-6)),
    "adagrad": (ServerOptimizer("adagrad", 0.02), _tff.build_adagrad(0.02, 1e-6, 0.0)),
}
# The others are slow; test_local_training and test_server_update compare their parts.
QUICK = {("fedavg", "examples", "momentum", "adam")}


def _cases():
    cases = {
        ("fedavg", weighting, client, "sgd") for weighting in _weightings for client in CLIENTS
    }
    cases |= {("fedavg", "examples", "sgd", server) for server in SERVERS}
    cases |= {("fedprox", weighting, "momentum", "sgd") for weighting in _weightings}
    cases |= {("fedavg", "uniform", "adamw", "yogi")}
    for case in sorted(cases | QUICK):
        marks = () if case in QUICK else pytest.mark.slow
        yield pytest.param(*case, marks=marks, id="-".join(case))


def _as_tff(mu):
    """Returns the proximal term of TFF 0.87.

    It adds mu (initial - current) to the gradient, away from the initial weights, where Li et al.
    have mu (current - initial). That ours has the right sign is tested in test_local_training.
    """

    def update(gradients, state, weights):
        pairs = zip(gradients, weights, state, strict=True)
        return [g + mu * (w0 - w) for g, w, w0 in pairs], state

    return GradientTransform(lambda weights: tuple(weights), update)


@pytest.mark.thorough
@pytest.mark.parametrize(("algorithm", "weighting", "client", "server"), _cases())
def test_the_process_equals_tff(model, oracle, algorithm, weighting, client, server):
    ours_client, their_client = CLIENTS[client]
    ours_server, their_server = SERVERS[server]
    mu = 0.5 if algorithm == "fedprox" else 0.0
    # Two local epochs: a client whose steps all start afresh would not notice the proximal term.
    data = cohort(model, epochs=2)
    local = LocalWork(ours_client, weighting=weighting, transforms=[_as_tff(mu)] if mu else [])
    process, state, metrics = train(model, local, ROUNDS, data, server_optimizer=ours_server)

    kinds = tff.learning.algorithms
    arguments = {
        "client_optimizer_fn": their_client,
        "server_optimizer_fn": their_server,
    }
    if algorithm == "fedprox":
        build = (
            kinds.build_weighted_fed_prox
            if weighting == "examples"
            else kinds.build_unweighted_fed_prox
        )
        arguments["proximal_strength"] = mu
    elif weighting == "examples":
        build = kinds.build_weighted_fed_avg
    else:
        build = kinds.build_unweighted_fed_avg
    theirs, their_metrics = oracle(model).train(
        build(oracle(model).model_fn, **arguments), ROUNDS, data
    )

    # AdamW divides gradients by numbers as small as its epsilon, so their roundings grow.
    tolerance = 1e-4 if client == "adamw" else 2e-5
    assert_same_weights(model, trainable(process, state), theirs, tolerance=tolerance)
    ours, expected = (m["client_work"]["train"] for m in (metrics[-1], their_metrics))
    # TFF averages the loss over examples, as we do.
    for key in ("accuracy", "loss", "num_examples", "num_batches"):
        assert float(ours[key]) == pytest.approx(float(expected[key]), rel=1e-5), key


@pytest.mark.slow
@pytest.mark.parametrize("part", ["no_embeddings", "head", "biases"])
def test_training_a_part_equals_tff(oracle, part):
    model = tiny_classifier(trainable=part)
    data = cohort(model)
    process, state, _ = train(model, LocalWork(), ROUNDS, data)
    theirs, _ = oracle(model, part).train(
        tff.learning.algorithms.build_weighted_fed_avg(
            oracle(model, part).model_fn, _tff.build_sgdm(0.1), _tff.build_sgdm(1.0)
        ),
        ROUNDS,
        data,
    )
    assert_same_weights(model, trainable(process, state), theirs)
