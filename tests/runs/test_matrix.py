"""Each combination trains, resumes and is as in TFF's worker, or one sentence refuses it.

By default a part of the matrix is decided, and a few combinations train. The slow tests decide the
whole matrix, and train so many that each pair of values occurs that can occur.
"""

import dataclasses
import functools
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.runs import matrix
from tff_nlp.aggregation.compression import coding
from tff_nlp.errors import UserError
from tff_nlp.execution import contexts, streaming, worker
from tff_nlp.privacy import aggregator_properties, names, noise_secret
from tff_nlp.program import checkpoints, run_directory
from tff_nlp.runs import (
    conduct,
    data,
    distilling,
    federated_training,
    learners,
    options,
    privacy_plan,
    processes,
    secure_rounds,
)
from tff_nlp.runs.configs import federated, task_names

# Number of combinations that train by default, and of parts of the slow test.
FEW, PARTS = 2, 8


@pytest.mark.thorough
@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_refusal_names_arguments_of_the_combination(whole):
    named = functools.cache(lambda sentence: set(re.findall(r"`(\w+)`", sentence)))
    for combination, sentence in matrix.refusals(whole=whole).items():
        if sentence:
            assert named(sentence) & set(matrix.options(combination)), (combination, sentence)


def test_each_value_can_train():
    possible = {name for combination in matrix.accepted() for name in combination}
    never = {name for values in matrix.AXES.values() for name in values} - possible
    assert never == {"bits_and_secure", "bits_and_bounded", "secure_and_krum"}


class Workplace:
    """Corpora and models that the runs of all combinations share."""

    def __init__(self, folder):
        self.folder = folder
        self._corpus, self._public = folder / "reviews.csv", folder / "public.csv"
        self._of_three = folder / "three.csv"
        two = (("great", "good"), ("awful", "bad"))
        for path, labels in (
            (self._corpus, two),
            (self._of_three, (*two, ("plain", "fair"))),
        ):
            rows = [
                f"{word} phone {number},{word} {number},{label}"
                for number in range(20)
                for word, label in labels
            ]
            path.write_text("text,other,label\n" + "\n".join(rows) + "\n")
        self._public.write_text("text,other\ngreat day 1,great 1\nawful day 2,awful 2\n")

    def configure(self, combination, **others):
        # With two labels, the columns of the head move by opposite numbers. Of such numbers top_k
        # takes one, and the last bit decides which.
        chooses = any(name.startswith("top_k") for name in combination)
        corpus = self._of_three if chooses else self._corpus
        paths = {"corpus": str(corpus), "cache_dir": str(self.folder / "cache")}
        if not set(federated.DISTILLING).isdisjoint(combination):
            paths["public_corpus"] = str(self._public)
        return matrix.configure(combination, **paths, **others)

    @functools.cache  # noqa: B019 - there is one workplace.
    def texts(self, corpus, public=None):
        return data.load_data(corpus, 0, public=public)

    @functools.cache  # noqa: B019
    def learner(self, corpus, model):
        texts = self.texts(corpus)
        return learners.build(corpus.task, texts.train, model, self.folder / "cache", seed=0)

    def _data(self, run):
        texts = self.texts(run.corpus, run.distillation if run.distils else None)
        return texts, data.split_clients(run.clients, texts.train, 0).split

    def plan(self, run, departures=()):
        if run.privacy.dp == names.NONE:
            return None
        return privacy_plan.plan(run, self._data(run)[1].train, departures)

    def can_aggregate(self, run):
        """Returns whether one aggregator can do all that the configuration says of it."""
        task = self.learner(run.corpus, run.model).task
        aggregator = processes.build_aggregator(run, task, self.plan(run))
        return aggregator_properties.of(aggregator) == conduct.of_process(run).aggregator

    def build_process(self, run):
        model = self.learner(run.corpus, run.model)
        public = distilling.public(run, model, [model], self._data(run)[0].public)
        return processes.build_process(run, model.task, 7, self.plan(run), public)

    @functools.cache  # noqa: B019
    def worker_context(self):
        return worker.worker_context()

    def program(self, run):
        """Returns the rounds of a run, built as a script builds them, without evaluation."""
        plan = self.plan(run, conduct.check(run))
        texts, split = self._data(run)
        secret = plan and noise_secret.NoiseSecret.from_seed(run.privacy.noise_seed)
        program = federated_training.build_program(
            run, texts, split, self.learner(run.corpus, run.model), plan, secret
        )
        return dataclasses.replace(program, evaluation_sets=())


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    return Workplace(tmp_path_factory.mktemp("matrix"))


def asks_for_one_aggregator(combination):
    given = matrix.options(combination)
    asked = {"upload_bits", "compression", "secure_aggregation", "aggregator"} & set(given)
    of_clients = given.get("dp") in names.CLIENT_LEVEL
    return len(asked) + of_clients <= 1


@pytest.mark.thorough
def test_objects_are_refused_with_the_same_sentence(workplace, monkeypatch):
    # Building TFF's secure aggregator takes longer than all else here, and many need the same one.
    secure = functools.cache(tff.learning.secure_aggregator)
    monkeypatch.setattr(tff.learning, "secure_aggregator", secure)
    # Objects do not know how sums are computed, and over how many clients. The other tasks and
    # choices cost more.
    others = {
        "sums_masked",
        "sums_ckks",
        *task_names.TASKS[1:],
        "trains_top_1",
        "trains_biases",
        "trains_head",
    }
    refused = [
        combination
        for combination, sentence in matrix.refusals().items()
        if sentence and others.isdisjoint(combination) and asks_for_one_aggregator(combination)
    ]
    compared = 0
    for combination in matrix.covering(refused, 2):
        try:
            run = workplace.configure(combination)
        except UserError:
            continue  # The configuration itself is refused.
        if workplace.can_aggregate(run):
            try:
                workplace.build_process(run)
            except UserError as error:
                assert error.marked == matrix.refusals()[combination], combination
            else:
                pytest.fail(f"{combination} is accepted from Python")
            compared += 1
    assert compared > 20


def train(program, run, folder):
    """Runs the rounds in a run's folder, from its last checkpoint if there is one."""
    with run_directory.RunDirectory(folder, options.record(*run.recorded())) as directory:
        directory.begin()
        program.run(directory)


def saved(folder, number):
    """Returns the arrays of a checkpoint, and of the client states of its round, by name."""
    files = [*folder.glob("checkpoints/*.npz"), *folder.glob("client_states/*/*.npz")]
    found = {}
    for path in sorted(files):
        if path.name == f"round_{number:06d}.npz":
            with np.load(path) as file:
                names_of = [name for name in file.files if name != "digest"]
                found |= {f"{path.relative_to(folder)}:{name}": file[name] for name in names_of}
    return found


def check_resume(program, run, whole, folder):
    """Stops a finished run after its first round, and compares what it then ends with."""
    shutil.copytree(whole, folder)
    checkpoints.remove(folder / run_directory.CHECKPOINTS, 2)
    train(program, run, folder)
    ended, undisturbed = saved(folder, 2), saved(whole, 2)
    assert ended.keys() == undisturbed.keys() != set()
    for name, array in ended.items():
        assert array.tobytes() == undisturbed[name].tobytes(), name


def check_worker(program, run, whole, context, folder):
    """Compares the first round with that of TFF's worker, and with the weights before it."""
    with tff.framework.get_context_stack().install(context):
        train(dataclasses.replace(program, rounds=1), run, folder)
    ours, theirs = saved(whole, 1), saved(folder, 1)
    assert ours.keys() == theirs.keys()
    initial = program.initial_state().global_model_weights.trainable
    moved = distance(list(ours.values())[: len(initial)], initial)
    # In the first round B is 0, and so is the gradient of A. A language model sends nothing else.
    only_a = run.process == federated.FEDSA and run.corpus.task == task_names.LANGUAGE_MODEL
    assert moved > 0 or only_a
    # A number that is just between two levels may be rounded to the other one.
    share = 5e-2 if run.compression.setting else 2e-3
    for name, array in ours.items():
        most = share * moved + 1e-4 * distance([array], [np.zeros_like(array)])
        assert distance([array], [theirs[name]]) <= most, name


def distance(one, other):
    parts = [np.ravel(np.subtract(a, b, dtype=float)) for a, b in zip(one, other, strict=True)]
    return float(np.linalg.norm(np.concatenate(parts)))


def check(workplace, combination, folder):
    run = workplace.configure(combination)
    # One lane: the graphs of a lane cost more than these rounds.
    context = streaming.StreamingContext(["/CPU:0"], protocols=secure_rounds.protocols(run))
    with tff.framework.get_context_stack().install(context), pytest.MonkeyPatch.context() as patch:
        # Random rounding depends on all bits of an update, and in the worker the last ones differ.
        patch.setattr(coding, "_fingerprint", lambda tensors: tf.zeros([], tf.int32))
        program = workplace.program(run)
        assert program.conduct == conduct.of_process(run)
        train(program, run, folder / "whole")
        check_resume(program, run, folder / "whole", folder / "stopped")
        sent = contexts.count_bytes(
            context,
            program.process.next,
            cohort=run.clients.clients_per_round,
            overhead=secure_rounds.overhead(run),
        )
        assert sent.up > 0
        if not program.conduct.aggregator.secure_sum:
            worker_context = workplace.worker_context()
            check_worker(program, run, folder / "whole", worker_context, folder / "worker")
    if program.conduct.aggregator.secure_sum:
        with pytest.raises(UserError, match="context=tff cannot run it"):
            conduct.check(workplace.configure(combination, context="tff"))


@pytest.mark.thorough
@pytest.mark.parametrize("number", range(FEW))
def test_some_train_resume_and_are_as_in_the_worker(workplace, number, tmp_path):
    check(workplace, matrix.covering(matrix.accepted(), 2)[number], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_all_pairs_of_values_train_resume_and_are_as_in_the_worker(workplace, part, tmp_path):
    accepted = matrix.accepted(whole=True)
    for number, row in enumerate(matrix.covering(accepted, 2)[part::PARTS]):
        check(workplace, row, tmp_path / str(number))
