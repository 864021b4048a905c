"""SCAFFOLD on quadratics, against the paper's algorithm by hand."""

import dataclasses
import functools

import numpy as np
import pytest
import tensorflow_federated as tff

from tests.learning import conftest as berts
from tests.learning import quadratics
from tff_nlp import errors
from tff_nlp.execution import forms, ledger
from tff_nlp.learning import client_input, client_work, composition
from tff_nlp.learning.algorithms import fed_avg, scaffold
from tff_nlp.learning.client_work import LocalWork
from tff_nlp.learning.optimizers import ClientOptimizer
from tff_nlp.learning.transforms.example_privacy import ExamplePrivacy
from tff_nlp.privacy import mechanism
from tff_nlp.tasks import classification

STEPS, RATE = 5, 0.1
LOCAL = LocalWork(ClientOptimizer("sgd", RATE), weighting=client_work.UNIFORM)


@functools.cache
def process_of(population, local, **arguments):
    """Returns a process, which is compiled once for all tests."""
    return scaffold.scaffold(quadratics.task(), local, population=population, **arguments)


class Federation:
    """A SCAFFOLD process and the states of its clients."""

    def __init__(self, population=2, local=LOCAL, **arguments):
        self.process = process_of(population, local, **arguments)
        self.state = composition.initial_state(self.process, quadratics.task())
        self.kept = {}

    def round(self, *members, steps=STEPS):
        """Computes a round of some clients. A pair is a client and its own number of steps."""
        pairs = [member if isinstance(member, tuple) else (member, steps) for member in members]
        data = [
            client_input.with_values(
                quadratics.client(number % 2, count),
                state=self.kept.get(number, self.process.client_specs),
            )
            for number, count in pairs
        ]
        output = self.process.next(self.state, data)
        self.state = output.state
        self.kept |= {number: own for (number, _), own in zip(pairs, output.clients, strict=True)}
        return output.metrics

    @property
    def weight(self):
        return float(self.process.get_model_weights(self.state).trainable[0])

    @property
    def variate(self):
        return float(self.state.client_work[1][0])


@pytest.mark.thorough
def test_it_reaches_the_optimum_where_fed_avg_stays_aside():
    federation = Federation()
    for _ in range(60):
        federation.round(0, 1)
    assert federation.weight == pytest.approx(quadratics.OPTIMUM, abs=1e-6)

    task = quadratics.task()
    process = fed_avg.fed_avg(task, LOCAL)
    state = composition.initial_state(process, task)
    for _ in range(60):
        state = process.next(state, quadratics.clients(STEPS)).state
    aside = float(process.get_model_weights(state).trainable[0])
    assert aside == pytest.approx(quadratics.fixed_point_of_fed_avg(STEPS, RATE), abs=1e-5)
    assert abs(aside - quadratics.OPTIMUM) > 0.05


def test_each_round_is_algorithm_1_with_option_2():
    federation, weight, server, own = Federation(), 0.0, 0.0, np.zeros(2)
    for members in ((0, 1), (1,), (0,), (0, 1)):
        federation.round(*members)
        ends = {k: quadratics.local_steps(weight, k, STEPS, RATE, server - own[k]) for k in members}
        changes = {k: -server + (weight - end) / (STEPS * RATE) for k, end in ends.items()}
        weight = float(np.mean(list(ends.values())))
        server += sum(changes.values()) / 2
        for k, change in changes.items():
            own[k] += change
        assert federation.weight == pytest.approx(weight, abs=1e-5)
        assert federation.variate == pytest.approx(server, abs=1e-5)
        assert [float(federation.kept[k][0]) for k in members] == pytest.approx(
            [own[k] for k in members], abs=1e-5
        )
        # The server's is the mean of all clients', also of those that have not taken part.
        assert federation.variate == pytest.approx(own.mean(), abs=1e-5)


@pytest.mark.thorough
def test_the_population_and_not_the_cohort_divides():
    small, large = Federation(population=2), Federation(population=20)
    small.round(0, 1)
    large.round(0, 1)
    assert large.variate == pytest.approx(small.variate / 10, rel=1e-5)


def test_one_round_without_variates_is_fed_avg():
    federation = Federation()
    metrics = federation.round(0, 1, steps=1)
    task = quadratics.task()
    process = fed_avg.fed_avg(task, LOCAL)
    output = process.next(composition.initial_state(process, task), quadratics.clients(1))
    assert federation.weight == float(process.get_model_weights(output.state).trainable[0])
    expected = output.metrics["client_work"]["train"]
    for name, value in metrics["client_work"]["train"].items():
        assert float(value) == pytest.approx(float(expected[name])), name


def test_a_client_without_examples_keeps_what_it_has():
    federation = Federation()
    federation.round(0, 1)
    before, server = federation.kept[0][0], federation.variate
    federation.round(0, steps=0)
    assert federation.kept[0][0] == before
    assert federation.variate == server


@pytest.mark.thorough
def test_a_client_without_examples_counts_if_the_aggregator_has_no_weights():
    federation = Federation(aggregator=tff.aggregators.UnweightedMeanFactory())
    federation.round((0, STEPS), (1, 0))
    own = [federation.kept[number][0] for number in range(2)]
    assert own[1] == 0 and federation.variate == pytest.approx(np.mean(own), rel=1e-6)


def test_what_a_client_sends_can_be_changed():
    local = dataclasses.replace(LOCAL, send=lambda update, sums: tuple(2 * u for u in update))
    once, twice = Federation(), Federation(local=local)
    for federation in (once, twice):
        federation.round(0, 1)
    assert twice.weight == pytest.approx(2 * once.weight)
    assert twice.variate == once.variate


@pytest.mark.thorough
def test_twice_the_bytes_and_what_a_client_keeps_is_not_sent():
    model = berts.tiny_classifier(trainable="head")
    task = classification.classification(model)
    twice, once = (
        ledger.of_form(forms.compile_round(process.next))
        for process in (scaffold.scaffold(task, LOCAL, population=9), fed_avg.fed_avg(task, LOCAL))
    )
    variate = 4 * model.trainable_parameters
    assert twice.down - once.down == variate
    # Beside it goes whether it counts.
    assert 0 < twice.up - once.up - variate <= 8


@pytest.mark.parametrize(
    ("local", "arguments", "message"),
    [
        (LocalWork(ClientOptimizer("adamw", 0.1)), {}, "client_optimizer=adamw: .*plain sgd"),
        (
            LocalWork(ClientOptimizer("sgd", 0.1, momentum=0.9)),
            {},
            "client_momentum=0.9: .*plain sgd",
        ),
        (LOCAL, {"population": 0}, "num_clients=0"),
        (
            LOCAL,
            {"aggregator": mechanism.build_aggregator(mechanism.Mechanism("gaussian", 1.0, 2))},
            "algorithm=scaffold: .*no accountant",
        ),
        (
            LocalWork(
                ClientOptimizer("sgd", 0.1),
                weighting="uniform",
                example_privacy=ExamplePrivacy(1.0, 1.0, 4),
            ),
            {},
            "no accountant",
        ),
    ],
)
def test_what_does_not_go_together(local, arguments, message):
    with pytest.raises(errors.UserError, match=message):
        scaffold.scaffold(quadratics.task(), local, **{"population": 2, **arguments})


def test_the_same_in_tffs_worker():
    from tff_nlp.execution import worker

    ours, theirs = Federation(), Federation()
    ours.round(0, 1)
    context = worker.worker_context()
    with tff.framework.get_context_stack().install(context):
        theirs.round(0, 1)
    assert theirs.weight == pytest.approx(ours.weight, abs=1e-6)
    assert theirs.variate == pytest.approx(ours.variate, abs=1e-6)
