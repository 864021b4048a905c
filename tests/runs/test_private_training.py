"""Private processes trained by a call: drawn as their accountant assumes, or refused."""

import dataclasses

import dp_accounting as dpa
import numpy as np
import pytest
import tensorflow_federated as tff

import tff_nlp
from tff_nlp import errors, seeds
from tff_nlp.clients import client_data, cohorts
from tff_nlp.execution import streaming
from tff_nlp.learning.transforms.example_privacy import ExamplePrivacy
from tff_nlp.privacy import guarantee, names
from tff_nlp.program import training

BY_EXAMPLE = ExamplePrivacy(clipping_norm=1.0, noise_multiplier=1.0, expected_batch_size=4)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "texts.csv"
    rows = [f"place number {n} is {('good', 'bad')[n % 2]},{n % 2}" for n in range(48)]
    path.write_text("\n".join(["text,label", *rows]), encoding="utf-8")
    return tff_nlp.read_corpus(path)


@pytest.fixture(scope="module")
def classifier(corpus, tmp_path_factory):
    return tff_nlp.build_classifier(
        corpus,
        encoder="random",
        encoder_layers=1,
        encoder_width=8,
        max_tokens=8,
        trainable="head",
        cache_dir=tmp_path_factory.mktemp("cache"),
    )


@pytest.fixture
def train(corpus, classifier):
    def run(process, **arguments):
        clients = tff_nlp.partition(corpus, "iid", num_clients=6)
        return tff_nlp.train(
            process,
            classifier,
            corpus,
            clients,
            clients_per_round=3,
            **{"rounds": 1, "batch_size": 4, **arguments},
        )

    return run


@pytest.fixture
def build(classifier):
    """Builds a process by the name of its mechanism."""

    def private(dp, **arguments):
        local = tff_nlp.LocalWork(
            tff_nlp.ClientOptimizer("sgd", 0.1),
            weighting="uniform",
            example_privacy=BY_EXAMPLE if dp == names.EXAMPLE_LEVEL else None,
        )
        aggregator = None
        if dp in names.CLIENT_LEVEL:
            aggregator = tff_nlp.build_aggregator(tff_nlp.Mechanism(dp, 1.0, 3))
        return tff_nlp.fed_avg(classifier.task, local, aggregator=aggregator, **arguments)

    return private


@pytest.fixture
def drawn(monkeypatch):
    """What cohorts and batches were drawn by."""
    found = {}

    def sampler(sampling, seed, population, clients_per_round):
        found.update(sampling=sampling, seed=seed)
        return draw(sampling, seed, population, clients_per_round)

    class Population(client_data.TokenClientData):
        def __init__(self, *arguments, poisson=False, **others):
            found["poisson_batches"] = poisson
            super().__init__(*arguments, poisson=poisson, **others)

        def round_dataset(self, client, seed):
            found["order"] = seed
            return super().round_dataset(client, seed)

    draw = cohorts.sampler
    monkeypatch.setattr(cohorts, "sampler", sampler)
    monkeypatch.setattr(client_data, "TokenClientData", Population)
    return found


class StoppedError(Exception):
    """Everything is drawn, and nothing is trained."""


@pytest.fixture
def untrained(monkeypatch):
    """Ends a run where its rounds would begin."""

    def stop(program, directory):
        raise StoppedError

    monkeypatch.setattr(training.TrainingProgram, "run", stop)


@pytest.mark.parametrize(
    ("dp", "sampling"),
    [
        (names.NONE, "fixed"),
        (names.GAUSSIAN, "poisson"),
        (names.TREE_AGGREGATION, "cyclic"),
        (names.DISTRIBUTED, "fixed"),
        (names.EXAMPLE_LEVEL, "fixed"),
    ],
)
def test_cohorts_and_batches_are_drawn_as_the_accountant_assumes(
    train, build, drawn, untrained, dp, sampling
):
    """Cohorts used to be of a fixed size, drawn from the run's seed, whatever the process was."""
    with pytest.raises(StoppedError):
        train(build(dp), seed=3)
    assert drawn["sampling"] == sampling
    assert drawn["poisson_batches"] == (dp == names.EXAMPLE_LEVEL)
    # The epsilon of these mechanisms assumes that the cohorts are secret.
    assert (drawn["seed"] != 3) == (dp in (names.GAUSSIAN, names.DISTRIBUTED))


@pytest.mark.parametrize(
    "dp", [names.DISTRIBUTED, pytest.param(names.EXAMPLE_LEVEL, marks=pytest.mark.slow)]
)
def test_clients_that_draw_noise_get_its_key(train, build, drawn, dp):
    """They used to have none, and nothing could be trained."""
    trained = train(build(dp), seed=3)
    weights = [np.asarray(part) for part in trained.weights.trainable]
    assert all(np.isfinite(part).all() and part.any() for part in weights)
    # Which examples a batch of DP-SGD has is a secret, too.
    known = seeds.derive(3, "client_order", 0)
    assert (drawn["order"] != known) == (dp == names.EXAMPLE_LEVEL)


@pytest.mark.parametrize(
    ("dp", "arguments", "sentence"),
    [
        (names.GAUSSIAN, {"sampling": "fixed"}, "sampling=fixed: the accountant assumes"),
        (names.GAUSSIAN, {"sampling": "cyclic"}, "sampling=cyclic: the accountant of"),
        (names.TREE_AGGREGATION, {"sampling": "poisson"}, "sampling=poisson: the accountant of"),
        (names.DISTRIBUTED, {"sampling": "poisson"}, "sampling=poisson: the accountant of"),
        (names.NONE, {"sampling": "nonsense"}, "sampling=nonsense: choose one of"),
        (
            names.GAUSSIAN,
            {"sampling": "poisson", "adjacency": "replace_one"},
            "adjacency=replace_one: the accountant of",
        ),
    ],
)
def test_what_the_accountant_does_not_assume_is_refused(train, build, dp, arguments, sentence):
    with pytest.raises(tff_nlp.UserError) as raised:
        train(build(dp), **arguments)
    assert str(raised.value).startswith(sentence)


def test_a_client_that_fails_would_take_its_noise_along(train, build):
    context = streaming.StreamingContext(["/CPU:0"], max_failed_clients=1)
    process = build(names.DISTRIBUTED)
    with (
        tff.framework.get_context_stack().install(context),
        pytest.raises(tff_nlp.UserError, match="max_failed_clients=1"),
    ):
        train(process)


@pytest.mark.parametrize(
    ("process", "arguments", "sampling"),
    [({}, {"adjacency": "replace_one"}, "fixed"), ({"allow_dp_mismatch": True}, {}, "cyclic")],
)
def test_a_departure_may_be_accounted_for_or_allowed(
    train, build, drawn, untrained, process, arguments, sampling
):
    with pytest.raises(StoppedError):
        train(build(names.GAUSSIAN, **process), sampling=sampling, **arguments)
    assert drawn["sampling"] == sampling


@pytest.fixture
def promised():
    """The guarantee of the rounds of `train` with the noise of `build`."""
    return guarantee.Guarantee(
        mechanism=names.GAUSSIAN,
        population=6,
        clients_per_round=3,
        sampling="poisson",
        noise_multiplier=1.0,
        delta=0.1,
    )


@pytest.mark.slow
def test_a_guarantee_becomes_the_statement_of_the_rounds(train, build, promised, capsys):
    trained = train(build(names.GAUSSIAN), rounds=2, promised=promised, show_progress=False)
    accountant = dpa.rdp.RdpAccountant()
    one = dpa.PoissonSampledDpEvent(0.5, dpa.GaussianDpEvent(1.0))
    accountant.compose(dpa.SelfComposedDpEvent(one, 2))
    assert trained.privacy.guaranteed and trained.privacy.rounds == 2
    assert trained.privacy.epsilons.rdp == pytest.approx(accountant.get_epsilon(0.1), rel=0.01)
    assert trained.privacy.line().startswith(f"epsilon {trained.privacy.epsilons.rdp:.4f} (rdp)")
    assert float(trained.rows[-1]["epsilon_rdp"]) == pytest.approx(trained.privacy.epsilons.rdp)
    assert capsys.readouterr() == ("", "")


def test_a_guarantee_for_other_rounds_is_refused(train, build, promised):
    process = build(names.GAUSSIAN)
    for change, message in (
        ({"population": 7}, "promised: its population is 7, and that of the rounds is 6"),
        ({"clients_per_round": 2}, "promised: its clients_per_round is 2, and that of the .* is 3"),
        ({"sampling": "fixed"}, "promised: its sampling is fixed, .* is poisson"),
    ):
        with pytest.raises(tff_nlp.UserError, match=message):
            train(process, promised=dataclasses.replace(promised, **change))


@pytest.mark.slow
@pytest.mark.parametrize("dp", [names.NONE, names.DISTRIBUTED])
def test_a_guarantee_needs_a_mechanism_that_measures_its_noise(train, build, promised, dp):
    with pytest.raises(tff_nlp.UserError, match="promised: needs an aggregator of build_agg"):
        train(build(dp), promised=promised)


@pytest.mark.slow
def test_a_guarantee_for_another_noise_ends_the_run(train, build, promised):
    louder = dataclasses.replace(promised, noise_multiplier=2.0)
    with pytest.raises(errors.RunError, match="noise multiplier is 1, but epsilon is computed"):
        train(build(names.GAUSSIAN), promised=louder)
