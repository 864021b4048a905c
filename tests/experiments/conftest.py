"""A small corpus, a small model, and scripts run inside this process."""

import contextlib
import csv
import dataclasses
import io
import pathlib
import random
import shutil

import pytest
from absl.testing import flagsaver

from experiments import predict, train, train_centralized
from experiments.command_line import entry
from tff_nlp.clients import client_data
from tff_nlp.program import checkpoints
from tff_nlp.runs import federated_training, outcome, text_classifier

# A model and a corpus small enough for some seconds; dropout and two lanes are on.
TINY = {
    "encoder": "random",
    "encoder_width": 32,
    "encoder_layers": 1,
    "max_tokens": 16,
    "dropout": 0.2,
    "rounds": 3,
    "eval_every": 2,
    "num_clients": 12,
    "clients_per_round": 4,
    "batch_size": 8,
    "client_learning_rate": 0.003,
    "devices": "/CPU:0,/CPU:0",
}
_CENTRAL = ("encoder", "encoder_width", "encoder_layers", "max_tokens", "dropout", "batch_size")


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a script ended."""

    code: int
    out: str
    err: str


def script(module, *arguments, takes_arguments=False):
    """Runs a script's main function as its command line would."""
    before = flagsaver.save_flag_values(module.FLAGS)
    module.FLAGS.unparse_flags()
    name = f"{module.__name__.rpartition('.')[2]}.py"
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        try:
            code = entry.status(
                module.main, module.FLAGS, [name, *arguments], takes_arguments=takes_arguments
            )
        finally:
            flagsaver.restore_flag_values(before, module.FLAGS)
    return Ended(code, out.getvalue(), err.getvalue())


def flags(values):
    return [f"--{name}={value}" for name, value in values.items() if value is not None]


def write_reviews(path, rows=300):
    """Writes texts whose words give the label away, by a dozen authors."""
    generator = random.Random(1)
    words = {
        "good": ["great", "lovely", "superb", "happy"],
        "bad": ["awful", "broken", "poor", "sad"],
    }
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "author"])
        for number in range(rows):
            label = generator.choice(["good", "bad"])
            filler = generator.choices(["the", "phone", "was", "it", "very"], k=4)
            text = " ".join([*filler, generator.choice(words[label]), f"n{number}"])
            writer.writerow([text, label, f"author{number % 12}"])
    return path


@pytest.fixture(scope="session")
def reviews(tmp_path_factory):
    """A CSV file with the columns text, label and author."""
    return write_reviews(tmp_path_factory.mktemp("corpus") / "reviews.csv")


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@dataclasses.dataclass(frozen=True)
class Finished:
    """A run that went through undisturbed.

    Attributes:
      folder: Its output_dir.
      ended: What it printed.
      flags: What it was run with beyond the small task.
      stopped: A copy of its folder from the middle, if there is one: see `copying`.
    """

    folder: pathlib.Path
    ended: Ended
    flags: dict
    stopped: pathlib.Path | None = None


@contextlib.contextmanager
def copying(copy, before=2):
    """Copies a run's folder when it would write its second checkpoint, or a later one.

    The copy is what a kill at that moment leaves: it goes on to the end when it is run again.
    """
    save, saved = checkpoints.save, []

    def save_and_copy(folder, *arguments):
        if len(saved) == before - 1:
            shutil.copytree(folder.parent, copy)
        saved.append(folder)
        save(folder, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "save", save_and_copy)
        yield


@contextlib.contextmanager
def _without_pictures_and_export():
    with pytest.MonkeyPatch.context() as patch:
        for module, name in (
            (federated_training.picture, "draw_partition"),
            (outcome.pictures, "draw_curves"),
            (text_classifier.confusion_picture, "draw_confusion"),
            (text_classifier.export, "export"),
        ):
            patch.setattr(module, name, lambda *_, **__: None)
        yield


@pytest.fixture(scope="session")
def run_train(reviews, cache):
    """Runs experiments/train.py on the small task; flags given as None are left out.

    Pictures and the exported model, a third of a small run's work, are left out unless `complete`.
    """

    def run(output_dir, *, complete=False, **changes):
        values = {"corpus": reviews, "cache_dir": cache, "output_dir": output_dir}
        arguments = flags({**values, **TINY, **changes})
        with contextlib.nullcontext() if complete else _without_pictures_and_export():
            return script(train, *arguments)

    return run


@pytest.fixture(scope="session")
def run_central(reviews, cache):
    """Runs experiments/train_centralized.py on the small task."""

    def run(output_dir, **changes):
        values = {"corpus": reviews, "cache_dir": cache, "output_dir": output_dir, "epochs": 1}
        tiny = {name: TINY[name] for name in _CENTRAL}
        return script(train_centralized, *flags({**values, **tiny, **changes}))

    return run


@pytest.fixture(scope="session")
def run_predict():
    """Runs experiments/predict.py."""

    def run(*arguments):
        return script(predict, *arguments, takes_arguments=True)

    return run


@pytest.fixture(scope="session")
def finished(tmp_path_factory, run_train):
    """A federated run with state in its server optimizer and held-out clients."""
    values = {
        "client_weight_decay": 0.01,
        "server_momentum": 0.9,
        "held_out_fraction": 0.2,
        "client_validation_fraction": 0.1,
        "client_column": "author",
    }
    folder = tmp_path_factory.mktemp("runs") / "finished"
    stopped = folder.with_name("stopped")
    with copying(stopped):
        ended = run_train(folder, complete=True, **values)
    assert ended.code == 0, ended.err
    return Finished(folder, ended, values, stopped)


# Noise and canaries enough for a proof; some of the 24 clients are never drawn.
AUDITED = {
    "num_clients": 24,
    "partition": "iid",
    "client_test_fraction": 0,
    "eval_every": 12,
    "rounds": 12,
    "clients_per_round": 20,
    "dp": "gaussian",
    "noise_multiplier": 2.0,
    "delta": 1e-3,
    "audit_canaries": 100,
}


@dataclasses.dataclass(frozen=True)
class Audited(Finished):
    """A run with canaries.

    Attributes:
      trained: Positions of the clients whose data training asked for.
    """

    trained: frozenset[int] = frozenset()


@pytest.fixture(scope="session")
def audited(tmp_path_factory, run_train):
    """A sound run with canaries."""
    trained = set()
    original = client_data.TokenClientData.round_dataset

    def spy(self, client, *arguments):
        trained.add(client)
        return original(self, client, *arguments)

    folder = tmp_path_factory.mktemp("runs") / "audited"
    stopped = folder.with_name("stopped")
    with pytest.MonkeyPatch.context() as patch, copying(stopped, before=AUDITED["rounds"]):
        patch.setattr(client_data.TokenClientData, "round_dataset", spy)
        ended = run_train(folder, **AUDITED)
    assert ended.code == 0, ended.err
    return Audited(folder, ended, AUDITED, stopped, trained=frozenset(trained))


@pytest.fixture(scope="session")
def finished_centrally(tmp_path_factory, run_central):
    """A central run of two epochs."""
    values = {"epochs": 2}
    folder = tmp_path_factory.mktemp("runs") / "central"
    ended = run_central(folder, **values)
    assert ended.code == 0, ended.err
    return Finished(folder, ended, values)
