"""Stop a run anywhere, run the same command again: the same weights to the last bit.

tests/program/test_training.py stops at every single write; here the model, the optimizers and the
sampling are real.
"""

import csv
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.experiments import conftest
from tff_nlp.privacy.noise_secret import NoiseSecret
from tff_nlp.runs import federated_training

ROOT = pathlib.Path(__file__).resolve().parents[2]

SPARSE = {
    "checkpoint_every": 2,
    "sampling": "poisson",
    "clients_per_round": 2,
    "server_optimizer": "yogi",
    "server_learning_rate": 0.01,
    "decay_learning_rate": True,
    "client_epochs": 2,
    "rounds": 5,
}


def final(folder, rounds):
    """Returns what may not depend on stops: the last checkpoint's arrays and metrics.csv."""
    with np.load(folder / "checkpoints" / f"round_{rounds:06d}.npz") as file:
        leaves = {name: (file[name].dtype, file[name].tobytes()) for name in file.files}
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]
    return leaves, rows


def check_same(folder, undisturbed, rounds):
    found, expected = final(folder, rounds), final(undisturbed, rounds)
    assert found[0].keys() == expected[0].keys()
    # A checkpoint's digest is of its run, too: of the flags, in which two runs may differ.
    numbers = found[0].keys() - {"digest"}
    assert [name for name in numbers if found[0][name] != expected[0][name]] == []
    assert found[1] == expected[1]
    assert [row["round"] for row in found[1]] == [str(n + 1) for n in range(rounds)]


def test_a_stopped_run_ends_as_an_undisturbed_one(tmp_path, run_train, finished):
    """Dropout, AdamW, two lanes, momentum at the server, clients by author."""
    folder = shutil.copytree(finished.stopped, tmp_path / "stopped")
    assert not (folder / "result.json").exists()
    ended = run_train(folder, **finished.flags)
    assert (ended.code, "finished" in ended.out) == (0, False)
    check_same(folder, finished.folder, conftest.TINY["rounds"])


LONGER = {
    "dp": "gaussian",
    "noise_multiplier": 1,
    "delta": 0.01,
    "server_momentum": 0.9,
    "warmup_rounds": 2,
    "eval_every": 1,
}


@pytest.mark.slow
def test_a_finished_run_is_extended(tmp_path, run_train, reviews, monkeypatch):
    """More rounds give the bits that as many rounds at once give; the accounting goes on."""
    # Two runs with one secret have the same noise; more rounds read theirs back.
    secrets = iter([NoiseSecret(bytes(range(32)))] * 2)
    monkeypatch.setattr(NoiseSecret, "fresh", lambda: next(secrets))
    short, long = tmp_path / "short", tmp_path / "long"
    assert run_train(short, **LONGER, rounds=1).code == 0
    assert run_train(long, **LONGER, rounds=3).code == 0
    # The texts lie elsewhere by now, too.
    moved = shutil.copy(reviews, tmp_path / "moved.csv")
    ended = run_train(short, **LONGER, rounds=3, corpus=moved)
    assert ended.code == 0, ended.err
    assert f"{short}: continues after round 1" in ended.out
    check_same(short, long, 3)
    results = [json.loads((folder / "result.json").read_text()) for folder in (short, long)]
    assert results[0]["privacy"] == results[1]["privacy"]
    assert results[0]["privacy"]["rounds"] == results[0]["rounds"] == 3
    assert results[0]["test"] == results[1]["test"]
    assert results[0]["config"]["corpus"] == str(moved)
    ended = run_train(short, **LONGER, rounds=3)
    assert "nothing to do" in ended.out
    assert "--rounds=3, not --rounds=2" in run_train(short, **LONGER, rounds=2).err


@pytest.fixture
def only_begun(monkeypatch):
    """Runs begin, and end before any training; the fixture is the list of their rounds."""
    begun = []

    def begin(run, texts, split, directory, *_, **options):
        directory.begin(devices=[])
        begun.append(run.rounds.rounds)

    monkeypatch.setattr(federated_training, "train", begin)
    return begun


def test_more_rounds_on_moved_texts_go_on(tmp_path, run_train, reviews, only_begun):
    folder = tmp_path / "run"
    moved = shutil.copy(reviews, tmp_path / "moved.csv")
    assert run_train(folder, rounds=4).code == 0
    assert run_train(folder, rounds=6, corpus=moved).code == 0
    config = json.loads((folder / "config.json").read_text())
    assert (config["rounds"], config["corpus"]) == (6, str(moved))
    ended = run_train(folder, rounds=5, corpus=moved)
    assert (ended.code, "--rounds=6, not --rounds=5" in ended.err) == (2, True)
    assert only_begun == [4, 6]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("flags", "part"),
    [
        ({"decay_learning_rate": True}, "--decay_learning_rate lets the learning rate reach 0"),
        (
            {"dp": "gaussian", "target_epsilon": 30, "delta": 0.01},
            "the noise for --target_epsilon was computed for the old number of rounds",
        ),
    ],
)
def test_what_depends_on_the_number_of_rounds_is_not_extended(
    tmp_path, run_train, only_begun, flags, part
):
    folder = tmp_path / "run"
    assert run_train(folder, **flags, rounds=4).code == 0
    ended = run_train(folder, **flags, rounds=6)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert f"--rounds=4 that cannot go on to --rounds=6: {part}" in ended.err


@pytest.mark.slow
def test_the_same_with_few_checkpoints_poisson_sampling_and_yogi(tmp_path, run_train):
    folder = tmp_path / "stopped"
    with conftest.copying(folder):
        assert run_train(tmp_path / "undisturbed", **SPARSE).code == 0
    assert run_train(folder, **SPARSE).code == 0
    check_same(folder, tmp_path / "undisturbed", SPARSE["rounds"])


@pytest.mark.slow
def test_another_seed_gives_other_bits(tmp_path, run_train, finished):
    run_train(tmp_path / "other", **finished.flags, seed=1)
    rounds = conftest.TINY["rounds"]
    assert final(tmp_path / "other", rounds)[0] != final(finished.folder, rounds)[0]


def command(folder, reviews, cache, **changes):
    values = {
        "corpus": reviews,
        "cache_dir": cache,
        "output_dir": folder,
        **conftest.TINY,
        "rounds": 40,
        "eval_every": 10,
        **changes,
    }
    return [sys.executable, str(ROOT / "experiments" / "train.py"), *conftest.flags(values)]


@pytest.mark.slow
def test_kill_9_at_random_moments(tmp_path, reviews, cache):
    plain = command(tmp_path / "undisturbed", reviews, cache)
    subprocess.run(plain, cwd=ROOT, check=True, capture_output=True)
    killed = command(tmp_path / "killed", reviews, cache)
    generator = random.Random(0)
    kills = 0
    for attempt in range(3):
        process = subprocess.Popen(
            killed, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        wait_for(tmp_path / "killed", process, checkpoint_writing=attempt != 1)
        if attempt == 1:
            time.sleep(generator.random() * 0.2)
        process.kill()
        kills += process.wait() == -9
        process.stdout.close()
    assert kills >= 2
    done = subprocess.run(killed, cwd=ROOT, check=True, capture_output=True, text=True)
    assert "saved" in done.stdout or "finished" in done.stdout
    assert final(tmp_path / "killed", 40) == final(tmp_path / "undisturbed", 40)
    again = subprocess.run(
        [sys.executable, "-X", "importtime", *killed[1:]],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert "finished" in again.stdout
    # Said at once, which is to say without the half minute that TensorFlow takes to load.
    imported = {line.rpartition("|")[2].strip() for line in again.stderr.splitlines()}
    assert "tff_nlp.runs.federated_run" in imported
    assert "tensorflow" not in imported


def wait_for(folder, process, *, checkpoint_writing):
    """Waits for a new checkpoint, or for one that is being written at this moment."""
    checkpoint_folder = folder / "checkpoints"
    before = set(names(checkpoint_folder))
    while process.poll() is None:
        new = set(names(checkpoint_folder)) - before
        if any(name.endswith(".partial" if checkpoint_writing else ".npz") for name in new):
            return
        time.sleep(0.0005)  # Writing takes longer.


def names(folder):
    return os.listdir(folder) if folder.exists() else []  # noqa: PTH208 (it is polled)
