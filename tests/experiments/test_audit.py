"""experiments/audit.py on small runs: what was memorized is found, and noise hides it."""

import csv
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import types

import pytest
from matplotlib import image

from experiments import audit
from tests.experiments import conftest
from tff_nlp.errors import UserError
from tff_nlp.privacy import membership
from tff_nlp.runs import audit_table

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "docs" / "audit.md"


def test_where_the_audit_goes_is_checked_before_the_work(finished, tmp_path, monkeypatch):
    copy = shutil.copytree(finished.folder, tmp_path / "copy")
    (copy / "audit.json").mkdir()
    ended = run_audit(f"--run={copy}")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "audit.json: is a folder" in ended.err
    (copy / "audit.json").rmdir()
    both = (f"--run={copy}", f"--run={finished.folder}")
    for comparison, part in ((tmp_path, "is a folder"), (tmp_path / "no" / "x.png", "no folder")):
        ended = run_audit(*both, f"--comparison={comparison}")
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert f"--comparison={comparison}: " in ended.err and part in ended.err
    # As a read-only mount answers, and root is not told by permissions.
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.R_OK)
    ended = run_audit(f"--run={copy}")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert f"no permission to write into {copy}" in ended.err


def test_names_in_the_table_are_safe_to_print():
    attacks = {
        "\x1b[31m\n": types.SimpleNamespace(succeeds=True, auc=0.8),
        "b" * 6000: types.SimpleNamespace(succeeds=False, auc=0.4),
    }
    assert audit_table._spread(attacks) == r"1 of 2 above chance; highest 0.8000 (\x1b[31m\n)"
    del attacks["\x1b[31m\n"]
    assert audit_table._spread(attacks).endswith(f"({'b' * 37}...)")


def run_audit(*arguments):
    return conftest.script(audit, *arguments)


@pytest.fixture(scope="module")
def installed():
    """Skips where TensorFlow Privacy's attacks, an extra, are not installed."""
    try:
        membership.check_installed()
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def gossip(tmp_path_factory):
    """Texts of six authors with labels thrown by a coin: who knows them was told."""
    path = tmp_path_factory.mktemp("gossip") / "gossip.csv"
    generator = random.Random(2)
    syllables = [first + second for first in "bdfgklmnprst" for second in "aeiou"]
    words = ["".join(generator.choices(syllables, k=2)) for _ in range(600)]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "author"])
        for number in range(360):
            text = " ".join(generator.choices(words, k=6))
            writer.writerow([text, generator.choice("yn"), f"author{number % 6}"])
    return path


@pytest.fixture(scope="module")
def runs(installed, tmp_path_factory, run_train, gossip):
    """The same training without and with noise."""
    folder = tmp_path_factory.mktemp("audited")
    values = {
        "corpus": gossip,
        "client_column": "author",
        "clients_per_round": 6,
        "client_test_fraction": 0,
        "test_fraction": 0.4,
        "dropout": 0,
        "rounds": 5,
        "eval_every": 5,
        "client_epochs": 4,
        "client_learning_rate": 0.01,
    }
    noise = {"dp": "gaussian", "noise_multiplier": 2, "delta": 0.01}
    for name, changes in (("plain", {}), ("private", noise)):
        ended = run_train(folder / name, complete=True, **{**values, **changes})
        assert ended.code == 0, ended.err
    return folder / "plain", folder / "private"


@pytest.fixture(scope="module")
def both(runs, cache):
    """Both runs audited, and what was printed."""
    ended = run_audit(f"--run={runs[0]},{runs[1]}", f"--cache_dir={cache}")
    assert ended.code == 0, ended.err
    return [json.loads((folder / "audit.json").read_text()) for folder in runs], ended


@pytest.mark.slow
def test_memory_is_found_and_noise_hides_it(both):
    (plain, private), _ = both
    attack = plain["overall"]["threshold"]
    assert attack["auc_low"] > 0.7
    assert attack["advantage"] > 2 * attack["advantage_by_chance"]
    assert plain["member_loss"] < plain["other_loss"]
    attack = private["overall"]["threshold"]
    assert attack["auc_low"] < 0.5 < attack["auc_high"]
    assert private["privacy"].startswith("epsilon ")
    assert plain["privacy"] == "none"


@pytest.mark.thorough
def test_every_label_and_client_is_there(both):
    (plain, _), _ = both
    assert list(plain["labels"]) == ["n", "y"]
    assert sorted(plain["clients"]) == [f"author{n}" for n in range(6)]
    for attacks in (*plain["labels"].values(), *plain["clients"].values()):
        assert set(attacks) == {"threshold", "logistic_regression"}
        assert attacks["threshold"]["auc"] > 0.6
    members = sum(a["threshold"]["members"] for a in plain["clients"].values())
    assert members == plain["overall"]["threshold"]["members"] == plain["available"]["members"]
    assert plain["member_clients"] == 6


def documented():
    rows = [line for line in SCHEMA.read_text().splitlines() if line.startswith("| `")]
    return {key for row in rows for key in re.findall(r"`([\w.*]+)`", row.split("|")[1])}


def keys(value, path=""):
    """The keys of audit.json; names of sources, labels, clients and attacks as stars."""
    if not isinstance(value, dict):
        return {path}
    stars = ("sources", "labels", "clients", "overall", "available")
    is_open = path in stars or (path.endswith(".*") and path.split(".")[0] in stars[:3])
    if is_open and path.count("*") < 2:
        return set().union(*(keys(v, f"{path}.*") for v in value.values()))
    return set().union(*(keys(v, f"{path}.{k}" if path else k) for k, v in value.items()))


@pytest.mark.thorough
def test_every_key_is_documented(both):
    (plain, _), _ = both
    assert keys(plain) == documented()


@pytest.mark.thorough
def test_runs_are_printed_and_drawn_side_by_side(both, runs):
    (plain, private), ended = both
    rows = {re.split(r"\s{2,}", line.strip())[0]: line for line in ended.out.splitlines()}
    assert rows["plain"].split() == ["plain", "private"]
    for values in (plain, private):
        assert f"{values['overall']['threshold']['auc']:.4f}" in rows["threshold AUC"]
        assert f"{values['sources']['test']['threshold']['auc']:.4f}" in rows["against test"]
    assert "6 of 6 above chance" in rows["clients"]
    for path in (runs[0] / "audit.png", runs[1] / "audit.png", runs[0] / "audit_comparison.png"):
        assert image.imread(path).std() > 0.05


@pytest.mark.slow
def test_the_same_audit_again_and_fewer_examples(both, runs, cache):
    (plain, _), _ = both
    assert run_audit(f"--run={runs[0]}", f"--cache_dir={cache}").code == 0
    assert json.loads((runs[0] / "audit.json").read_text()) == plain
    ended = run_audit(f"--run={runs[1]}", f"--cache_dir={cache}", "--max_examples=100")
    assert ended.code == 0, ended.err
    attack = json.loads((runs[1] / "audit.json").read_text())["overall"]["threshold"]
    assert attack["members"] <= 50 and attack["others"] <= 50
    ended = run_audit(f"--run={runs[1]}", f"--cache_dir={cache}", "--min_examples=500")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "--min_examples=500" in ended.err


@pytest.mark.usefixtures("installed")
def test_central_runs_have_no_clients(finished_centrally, tmp_path, cache):
    folder = shutil.copytree(finished_centrally.folder, tmp_path / "central")
    ended = run_audit(f"--run={folder}", f"--cache_dir={cache}")
    assert ended.code == 0, ended.err
    values = json.loads((folder / "audit.json").read_text())
    assert (values["clients"], values["member_clients"]) == ({}, None)
    assert list(values["sources"]) == ["test"]
    assert image.imread(folder / "audit.png").std() > 0.05


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((), "--run is needed"),
        (("--run=missing",), "--run=missing: there is no such folder"),
        (("--run={finished}/model",), "not a run: config.json is missing"),
        (("--run={finished},{finished}",), "given twice"),
        (("--run={finished}", "--comparison=both.png"), "there is one run only"),
        (("--run={finished}", "--max_examples=0"), "max_examples"),
        (("{finished}",), "unexpected argument"),
    ],
)
def test_mistakes(finished, arguments, part):
    ended = run_audit(*(a.format(finished=finished.folder) for a in arguments))
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert part in ended.err


def test_an_unfinished_run_is_told_before_tensorflow_is_loaded(finished, tmp_path):
    shutil.copy(finished.folder / "config.json", tmp_path)
    script = (
        "import sys, runpy\n"
        f"sys.argv = ['audit.py', '--run={tmp_path}']\n"
        "try:\n"
        f"    runpy.run_path({str(ROOT / 'experiments' / 'audit.py')!r}, run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    print('loaded', 'tensorflow' in sys.modules, 'code', end.code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "loaded False code 2"
    assert (
        done.stderr
        == f"audit.py: --run={tmp_path}: the run is not finished: result.json is missing\n"
    )
