"""Training and resuming after a stop at any place, with a process that is simple to compute.

tests/experiments/test_resume.py does the same with a real model.
"""

import csv
import dataclasses
import os
import pathlib
import types

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp import errors
from tff_nlp.execution import streaming
from tff_nlp.privacy import contract_terms, guarantee, properties
from tff_nlp.program import client_states, training
from tff_nlp.program.run_directory import RunDirectory
from tff_nlp.tasks import classification_scores

ROUNDS = 7
LABELS = np.array([0, 1, 1, 0, 1], np.int32)


class Killed(BaseException):
    """An exception that no code catches."""


class Process:
    """Adds the cohort's sum with momentum to one weight. Its state has a round and a velocity."""

    def __init__(self):
        self.calls = []
        self.metrics = {}
        self.weight_at = {}

    def next(self, state, data):
        number = int(state.client_work)
        self.calls.append((number, tuple(data)))
        velocity = np.float32(0.9) * state.finalizer + np.float32(sum(data)) / np.float32(3)
        weights = state.global_model_weights
        weight = self.weight_at.get(number, weights.trainable[0] + velocity)
        train = {
            "loss": np.float32(1 / (1 + number)),
            "accuracy": np.float32(0.5),
            "num_examples": np.int64(10 * len(data)),
            "num_batches": np.int64(len(data)),
            "non_finite_clients": np.int32(0),
            "update_norm": np.float32(velocity),
        }
        server = {"update_non_finite": np.int32(0), "update_norm": np.float32(abs(velocity))}
        changes = self.metrics.get(number, {})
        train.update({k: v for k, v in changes.items() if k in train and k != "update_norm"})
        server.update({k: v for k, v in changes.items() if k in server})
        new = tff.learning.templates.LearningAlgorithmState(
            tff.learning.models.ModelWeights((np.float32(weight),), weights.non_trainable),
            (),
            np.int32(number + 1),
            (),
            np.float32(velocity),
        )
        metrics = {"client_work": {"train": train}, "aggregator": (), "finalizer": server}
        return types.SimpleNamespace(state=new, metrics=metrics)

    @property
    def initialize(self):
        made = tff.tensorflow.computation(initial_state)
        return tff.federated_computation(lambda: tff.federated_eval(made, tff.SERVER))

    def get_model_weights(self, state):
        return state.global_model_weights


def initial_state():
    return tff.learning.templates.LearningAlgorithmState(
        tff.learning.models.ModelWeights((np.float32(0.1),), (np.ones(3, np.float32),)),
        (),
        np.int32(0),
        (),
        np.float32(0),
    )


def predict(weights):
    """Predicts label 1 above a threshold that moves with the weight."""
    threshold = float(weights.trainable[0]) % 5

    def logits(tokens):
        return np.stack([np.full(len(tokens), threshold), tokens[:, 0]], 1).astype(np.float32)

    return logits


def build(process, **changes):
    rows = np.arange(len(LABELS))
    batches = [(np.repeat(rows[:, None], 2, axis=1).astype(np.int32), rows)]
    sets = [
        classification_scores.EvaluationSet("test", LABELS, lambda: batches),
        classification_scores.EvaluationSet("clients", LABELS, lambda: batches, rows // 2),
    ]
    arguments = {
        "process": process,
        "initial_state": initial_state,
        "cohort": lambda number: np.arange(number % 3 + 1),
        "client": lambda client, number: client + number % 7,
        "score": lambda weights, examples: classification_scores.score(
            examples, predict(weights), 2
        ),
        "evaluation_sets": sets,
        "train_means": ("loss", "accuracy"),
        "headline": "test_accuracy",
        "rounds": ROUNDS,
        "eval_every": 3,
        "checkpoint_every": 1,
        **changes,
    }
    return training.TrainingProgram(**arguments)


def run(folder, process=None, **changes):
    with RunDirectory(folder, {}) as directory:
        directory.begin()
        return build(process or Process(), **changes).run(directory)


def facts(folder, outcome):
    """Returns what must not depend on stops: final numbers, rows and TensorBoard's steps."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]
    state = [np.asarray(leaf).tobytes() for leaf in tf.nest.flatten(outcome.state)]
    return state, rows, dict(outcome.scores), events(folder)


def events(folder):
    """Returns tag and step of each TensorBoard event, without the duration of rounds."""
    found = {}
    for path in sorted((folder / "tensorboard").iterdir()):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                number = float(tf.make_ndarray(value.tensor))
                found.setdefault(value.tag, []).append((event.step, number))
    found.pop("round/seconds")
    return found


@pytest.fixture
def undisturbed(tmp_path):
    return facts(tmp_path / "undisturbed", run(tmp_path / "undisturbed"))


def test_rows_and_columns(tmp_path, undisturbed):
    _, rows, scores, _ = undisturbed
    assert [row["round"] for row in rows] == [str(n) for n in range(1, ROUNDS + 1)]
    assert [row["clients"] for row in rows] == ["1", "2", "3", "1", "2", "3", "1"]
    assert [bool(row["test_accuracy"]) for row in rows] == [n in (3, 6, 7) for n in range(1, 8)]
    assert rows[0]["train_num_examples"] == "10"
    assert float(rows[-1]["test_accuracy"]) == scores["test"].accuracy
    assert (
        float(rows[-1]["clients_worst_decile_accuracy"]) == scores["clients"].clients.worst_decile
    )


def test_tensorboard_says_what_the_rows_say(undisturbed):
    _, rows, _, board = undisturbed
    assert [step for step, _ in board["train/loss"]] == list(range(1, ROUNDS + 1))
    assert [step for step, _ in board["test/accuracy"]] == [3, 6, 7]
    for (_, number), row in zip(board["train/loss"], rows, strict=True):
        assert number == pytest.approx(float(row["train_loss"]), rel=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("checkpoint_every", [1, pytest.param(2, marks=pytest.mark.slow), 3, 100])
def test_a_stop_at_any_write_changes_nothing(tmp_path, undisturbed, monkeypatch, checkpoint_every):
    """Stops a run before or after each of the program's writes, one run per write."""
    stopped = 0
    for place in range(1000):
        folder = tmp_path / str(place)
        with monkeypatch.context() as patch:
            stop_at(patch, place)
            try:
                outcome = run(folder, checkpoint_every=checkpoint_every)
            except Killed:
                stopped += 1
                outcome = None
        if outcome is not None:
            break
        outcome = run(folder, checkpoint_every=checkpoint_every)
        assert facts(folder, outcome) == undisturbed
    assert stopped > 2 * ROUNDS


def stop_at(patch, place):
    """Ends the program at a write call, before or after the call; `place` is its number."""
    count = iter(range(1_000_000))
    fsync, rename = os.fsync, pathlib.Path.rename

    def before(call):
        def stopping(*arguments):
            if next(count) == place:
                raise Killed
            result = call(*arguments)
            if next(count) == place:
                raise Killed
            return result

        return stopping

    patch.setattr(os, "fsync", before(fsync))
    patch.setattr(pathlib.Path, "rename", before(rename))


def test_more_rounds_later_are_as_many_at_once(tmp_path, undisturbed):
    folder = tmp_path / "run"
    run(folder, rounds=3)
    outcome = run(folder)
    assert facts(folder, outcome) == undisturbed


def test_many_stops_in_one_run(tmp_path, undisturbed, monkeypatch):
    folder = tmp_path / "run"
    for place in (9, 4, 11, 2, 15, 7):
        with monkeypatch.context() as patch:
            stop_at(patch, place)
            with pytest.raises(Killed):
                run(folder, checkpoint_every=2)
    assert facts(folder, run(folder, checkpoint_every=2)) == undisturbed


def test_only_the_rounds_after_the_checkpoint_are_computed_again(tmp_path):
    process = Process()
    with pytest.raises(RuntimeError, match="client"):
        run(tmp_path, process, client=failing_in(5), checkpoint_every=2)
    assert [number for number, _ in process.calls] == [0, 1, 2, 3, 4]
    process = Process()
    run(tmp_path, process, checkpoint_every=2)
    assert [number for number, _ in process.calls] == [4, 5, 6]


def failing_in(number):
    """Returns a `dataset` that fails in a round; cohorts have 1, 2 and 3 clients."""
    calls = iter(range(1000))
    first = sum(n % 3 + 1 for n in range(number))

    def dataset(client, seed):
        if next(calls) == first:
            raise RuntimeError("client")
        return client + seed % 7

    return dataset


class Keeping(Process):
    """Clients keep the number of the round. The second client of each round fails."""

    client_specs = (tf.TensorSpec([], tf.int32),)

    def __init__(self, context):
        super().__init__()
        self.context = context

    def next(self, state, data):
        self.context.failed_clients = (1,) if len(data) > 1 else ()
        output = super().next(state, [1] * len(data))
        present = len(data) - len(self.context.failed_clients)
        return types.SimpleNamespace(
            **vars(output), clients=[(np.int32(state.client_work),)] * present
        )


def test_a_client_that_failed_keeps_its_old_state(tmp_path):
    context = streaming.StreamingContext(["/CPU:0"], max_failed_clients=1)
    with tff.framework.get_context_stack().install(context):
        run(tmp_path, Keeping(context), client=lambda client, number, state: state)
    with RunDirectory(tmp_path, {}) as directory:
        states = client_states.ClientStates(tmp_path / "client_states", directory.identity)
    kept = [states.load(str(client), Keeping.client_specs) for client in range(3)]
    # The client 0 is in every round, 1 always fails, and 2 is in the rounds 2 and 5.
    assert [part and int(part[0]) for part in kept] == [ROUNDS - 1, None, 5]


def test_a_run_whose_rounds_are_done_is_only_scored_again(tmp_path, undisturbed):
    run(tmp_path / "run")
    process = Process()
    assert facts(tmp_path / "run", run(tmp_path / "run", process)) == undisturbed
    assert process.calls == []


def test_a_damaged_checkpoint_changes_nothing_else(tmp_path, undisturbed):
    folder = tmp_path / "run"
    run(folder)
    newest = folder / "checkpoints" / "round_000007.npz"
    newest.write_bytes(newest.read_bytes()[:100])
    rows = (folder / "metrics.csv").read_bytes()
    with pytest.raises(
        errors.UserError, match="delete it to continue from the checkpoint before it"
    ):
        run(folder)
    assert (folder / "metrics.csv").read_bytes() == rows
    newest.unlink()
    assert facts(folder, run(folder)) == undisturbed


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({"non_finite_clients": np.int32(3)}, "round 3: the loss of all 3 clients is not a number"),
        ({"update_non_finite": np.int32(1)}, "round 3: the sum of the clients' updates"),
        ({"loss": np.float32("nan")}, "round 3: the sum"),
        ({"loss": np.float32("inf")}, "round 3: the sum"),
    ],
)
def test_a_round_with_nan_ends_the_run(tmp_path, metrics, message):
    process = Process()
    process.metrics[2] = metrics
    with pytest.raises(errors.DivergedError, match=message) as raised:
        run(tmp_path, process)
    assert isinstance(raised.value, errors.RunError)
    assert "client_learning_rate" in str(raised.value)
    assert kept(tmp_path) == ["round_000001.npz", "round_000002.npz"]


@pytest.mark.parametrize("weight", ["nan", "inf"])
def test_weights_that_are_not_finite_are_never_saved(tmp_path, weight):
    process = Process()
    process.weight_at[4] = np.float32(weight)
    with pytest.raises(errors.DivergedError, match="round 5: the weights are not numbers"):
        run(tmp_path, process)
    assert kept(tmp_path) == ["round_000003.npz", "round_000004.npz"]
    assert (tmp_path / "metrics.csv").read_text().count("\n") == 5


def kept(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def test_a_warning_names_clients_with_a_loss_of_nan(tmp_path, capsys):
    process = Process()
    process.metrics[2] = {"non_finite_clients": np.int32(1)}
    run(tmp_path, process)
    assert "round 3: the loss of 1 of 3 clients is not a number" in capsys.readouterr().err


def test_a_round_may_have_no_clients(tmp_path):
    process = Process()
    process.metrics[1] = {"update_non_finite": np.int32(1)}  # The mean over no clients is 0/0.
    outcome = run(tmp_path, process, cohort=lambda number: np.arange(0 if number == 1 else 2))
    assert [row["clients"] for row in outcome.rows] == ["2", "0", *"22222"]
    assert outcome.rows[1]["train_loss"] == ""
    assert outcome.rows[1]["train_num_examples"] == "0"


@pytest.mark.parametrize(
    ("drawn", "refused"),
    [
        (None, "drawn: must say how"),
        (contract_terms.Rounds("fixed"), "poisson_batches=false: the accountant"),
        (contract_terms.Rounds("fixed", poisson_batches=True), ""),
    ],
)
def test_ordinary_batches_do_not_reach_a_process_with_an_epsilon_of_examples(drawn, refused):
    """They used to be trained on without a word."""
    process = Process()
    process.conduct = contract_terms.Conduct(by_example=True)
    if not refused:
        assert build(process, drawn=drawn).conduct.is_private
        return
    with pytest.raises(errors.UserError, match=refused):
        build(process, drawn=drawn)


GAUSSIAN = contract_terms.Conduct(aggregator=properties.configured("gaussian"))
PROMISED = guarantee.Guarantee(
    mechanism="gaussian",
    population=100,
    clients_per_round=10,
    sampling="poisson",
    noise_multiplier=1.0,
    delta=1e-3,
)


@pytest.mark.parametrize(
    ("conduct", "sampling", "refused"),
    [
        (GAUSSIAN, "poisson", ""),
        (contract_terms.Conduct(), "poisson", "guarantee: is for dp=gaussian, and the process has"),
        (
            contract_terms.Conduct(aggregator=properties.configured("tree_aggregation")),
            "cyclic",
            "guarantee: is for dp=gaussian",
        ),
        (
            dataclasses.replace(GAUSSIAN, allow_dp_mismatch=True),
            "cyclic",
            "guarantee: there is none: sampling=cyclic",
        ),
        (
            dataclasses.replace(GAUSSIAN, allow_dp_mismatch=True, weighting="examples"),
            "poisson",
            "guarantee: there is none: weighting=examples",
        ),
    ],
)
def test_an_epsilon_is_that_of_the_process(conduct, sampling, refused):
    """An epsilon used to be printed for whatever process it was given with."""
    process = Process()
    process.conduct = conduct
    drawn = contract_terms.Rounds(sampling)
    if not refused:
        assert build(process, drawn=drawn, guarantee=PROMISED)
        return
    with pytest.raises(errors.UserError, match=refused):
        build(process, drawn=drawn, guarantee=PROMISED)
    broken = dataclasses.replace(PROMISED, violations=("`sampling`=cyclic: no",))
    assert build(process, drawn=drawn, guarantee=broken)
