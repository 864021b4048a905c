"""A run by domains, with one of them trained alone: the same rounds, other texts, one table."""

import csv
import json
import random
import re
import shutil
import types

import numpy as np
import pytest

from experiments import train
from tests.experiments import conftest
from tff_nlp.clients import client_data
from tff_nlp.program import run_directory
from tff_nlp.runs import alone, configs, score_table
from tff_nlp.tasks import classification

DOMAINS = ("books", "dvd", "music")
FLAGS = {
    "client_column": "domain",
    "partition": "domains",
    "num_clients": None,
    "clients_per_domain": 4,
    "clients_per_round": 3,
    "client_test_fraction": 0,
    "alone": "dvd",
    "rounds": 2,
    "decay_learning_rate": True,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("domains") / "domains.csv"
    generator = random.Random(5)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "domain"])
        for number in range(150):
            label = generator.choice(["good", "bad"])
            writer.writerow([f"a {label} thing number {number}", label, DOMAINS[number % 3]])
    return path


@pytest.fixture(scope="module")
def done(tmp_path_factory, run_train, corpus):
    """A finished run, and the clients that its two trainings asked for data, in order."""
    asked = []
    original = client_data.TokenClientData.round_dataset

    def spy(self, client, *arguments):
        asked.append(self.partition.client_ids[client])
        return original(self, client, *arguments)

    folder = tmp_path_factory.mktemp("runs") / "domains"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client_data.TokenClientData, "round_dataset", spy)
        ended = run_train(folder, **{"corpus": corpus, **FLAGS})
    assert ended.code == 0, ended.err
    return conftest.Finished(folder, ended, FLAGS), asked


def result_of(run):
    return json.loads((run.folder / "result.json").read_text())


@pytest.mark.thorough
def test_only_the_domain_trains_and_as_much_as_the_others(done):
    _, asked = done
    together, on_its_own = asked[:6], asked[6:]
    assert len(on_its_own) == len(together)
    assert {name.split()[0] for name in on_its_own} == {"dvd"}
    assert len({name.split()[0] for name in together}) > 1


@pytest.mark.thorough
def test_the_result_has_the_scores_of_both(done):
    run, _ = done
    found = result_of(run)
    assert list(found["test"]["domains"]) == sorted(DOMAINS)
    assert found["alone"]["domain"] == "dvd"
    for scores in (found["test"], found["alone"]["test"]):
        parts = scores["domains"].values()
        assert sum(part["examples"] for part in parts) == scores["examples"]
        right = sum(part["examples"] * part["accuracy"] for part in parts)
        assert right == pytest.approx(scores["examples"] * scores["accuracy"])


@pytest.mark.thorough
def test_it_ends_with_the_table(done, run_train, corpus):
    run, _ = done
    table = score_table.lines(result_of(run), classification.REPORT)
    assert " ".join(table[0].split()) == "accuracy federated dvd alone most frequent label examples"
    assert [line.split()[0] for line in table[1:]] == ["test", *sorted(DOMAINS)]
    assert len(set(map(len, table))) == 1
    assert "\n".join(table) in run.ended.out
    again = run_train(run.folder, **{"corpus": corpus, **FLAGS})
    assert "nothing to do" in again.out
    assert again.out.endswith("\n".join([*table, ""]))


@pytest.mark.slow
def test_a_run_that_was_stopped_while_it_trained_alone(done, run_train, corpus, tmp_path):
    run, _ = done
    folder = shutil.copytree(run.folder, tmp_path / "stopped")
    (folder / "result.json").unlink()
    [last] = (folder / run_directory.ALONE / "checkpoints").glob("round_000002*")
    last.unlink()
    assert run_train(folder, **{"corpus": corpus, **FLAGS}).code == 0
    expected, found = result_of(run), json.loads((folder / "result.json").read_text())
    for name in ("test", "alone"):
        assert found[name] == expected[name]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"partition": "iid", "num_clients": 5}, "needs --partition=domains"),
        ({"alone": "toys"}, "is no domain of .*: books, dvd, music"),
        ({"clients_per_domain": 2}, "has 2 training clients, fewer than --clients_per_round=3"),
        ({"dp": "gaussian", "noise_multiplier": 1}, "--dp=gaussian accounts for one training"),
    ],
)
def test_what_cannot_train_alone(run_train, corpus, tmp_path, flags, message):
    ended = run_train(tmp_path / "run", **{"corpus": corpus, **FLAGS, **flags})
    assert ended.code == 2
    assert re.search(f"--alone={flags.get('alone', 'dvd')}: {message}", ended.err), ended
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_help_names_the_flags():
    ended = conftest.script(train, "--help")
    for flag in ("--alone", "--clients_per_domain", "--negative_at_most", "--positive_at_least"):
        assert flag in ended.out


def test_domains_of_other_sizes_take_as_many_steps():
    """Two clients of 5 and 20 examples, in turn, take 1 and 3 batches of 8; alone, each takes 2."""
    run = types.SimpleNamespace(
        federated=configs.FederatedConfig(client_epochs=1),
        client_training=configs.ClientTrainingConfig(batch_size=8),
    )
    program = types.SimpleNamespace(rounds=4, cohort=lambda number: [number % 2])
    train_clients = types.SimpleNamespace(sizes=np.array([5, 20]))
    assert alone.local_steps(program, run, train_clients) == 2
    run.federated = configs.FederatedConfig(client_epochs=2)
    assert alone.local_steps(program, run, train_clients) == 4
    run.federated = configs.FederatedConfig(local_steps=7)
    assert alone.local_steps(program, run, train_clients) == 7
