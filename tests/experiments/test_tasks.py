"""Every task from the command line: trained, resumed, predicted, refused in one line."""

import csv
import json
import random

import numpy as np
import pytest

from tests.experiments import conftest

LANGUAGE = {
    "task": "language_model",
    "format": "speeches",
    "vocabulary_size": 300,
    "partition": "natural",
    "client_column": None,
    "num_clients": None,
    "client_validation_fraction": 0.1,
    "held_out_fraction": 0.2,
}


@pytest.fixture(scope="module")
def speeches(tmp_path_factory):
    """Eight speakers whose next word follows from the one before."""
    generator = random.Random(1)
    follows = {"the": "king", "king": "comes", "comes": "home", "home": "the"}
    path = tmp_path_factory.mktemp("speeches") / "plays.txt"
    blocks = []
    for number in range(160):
        word, words = generator.choice(list(follows)), []
        for _ in range(6):
            words.append(word)
            word = follows[word]
        blocks.append(f"SPEAKER {number % 8}:\n{' '.join(words)} {number}\n")
    path.write_text("\n".join(blocks))
    return path


@pytest.fixture(scope="module")
def spoken(tmp_path_factory, run_train, speeches):
    folder = tmp_path_factory.mktemp("runs") / "spoken"
    values = {**LANGUAGE, "corpus": speeches, "personalize": "fine_tune", "fine_tune_steps": 2}
    stopped = folder.with_name("stopped")
    with conftest.copying(stopped):
        ended = run_train(folder, complete=True, **values)
    assert ended.code == 0, ended.err
    return conftest.Finished(folder, ended, values, stopped)


@pytest.mark.thorough
def test_a_language_model_says_what_it_has_learned(spoken):
    result = json.loads((spoken.folder / "result.json").read_text())
    assert result["task"] == "language_model"
    test = result["test"]
    assert test["perplexity"] == pytest.approx(np.exp(test["loss"]))
    assert {"validation", "clients", "held_out"} <= set(result)
    # A speaker is worse off if its perplexity rises.
    with (spoken.folder / "personal.csv").open(newline="") as file:
        speakers = [(float(r["before"]), float(r["after"])) for r in csv.DictReader(file)]
    before = [perplexity for perplexity, _ in speakers]
    assert result["personal"]["before"]["worst_decile"] == pytest.approx(max(before))
    harmed = np.mean([after > before for before, after in speakers])
    assert result["personal"]["harmed"] == harmed
    with (spoken.folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["test_perplexity"]) == test["perplexity"]
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])
    evaluated = {r["round"]: float(r["validation_perplexity"]) for r in rows if r["test_loss"]}
    assert result["best"]["round"] == int(min(evaluated, key=evaluated.get))
    for words in (
        "next token right",
        "guessing by frequency",
        "8 clients",
        "by the validation part",
    ):
        assert words in spoken.ended.out
    assert (spoken.folder / "clients.png").exists()


@pytest.mark.slow
def test_a_stopped_language_model_ends_as_an_undisturbed_one(spoken, run_train):
    ended = run_train(spoken.stopped, **spoken.flags)
    assert ended.code == 0, ended.err
    whole, stopped = (
        json.loads((folder / "result.json").read_text())
        for folder in (spoken.folder, spoken.stopped)
    )
    assert whole["test"] == stopped["test"]
    assert whole["fingerprints"]["partition"] == stopped["fingerprints"]["partition"]


@pytest.mark.slow
def test_it_continues_texts(spoken, run_predict, tmp_path):
    run = f"--run={spoken.folder}"
    greedy = run_predict(run, "--generate", "--max_new_tokens=4", "the king", "home")
    assert greedy.code == 0, greedy.err
    lines = greedy.out.splitlines()
    assert lines[0].startswith("the king")
    drawn = [
        run_predict(run, "--generate", "--top_p=0.9", f"--seed={seed}", "the king").out
        for seed in (1, 1, 2)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    table = tmp_path / "prompts.csv"
    table.write_text("text,id\nthe king,1\n,2\n")
    written = run_predict(run, "--generate", f"--file={table}", "--max_new_tokens=3")
    rows = list(csv.DictReader(written.out.splitlines()))
    assert [row["id"] for row in rows] == ["1", "2"]
    assert rows[1]["continuation"] == ""
    found = run_predict(run, "--generate", "--json", "--max_new_tokens=3", "the king")
    assert json.loads(found.out)["continuation"] == rows[0]["continuation"]


@pytest.mark.thorough
def test_a_model_is_used_as_what_it_is(spoken, finished, run_predict):
    ended = run_predict(f"--run={spoken.folder}", "the king")
    assert (ended.code, ended.err.splitlines()[-1]) == (
        2,
        f"predict.py: --run={spoken.folder / 'model'}: a language model continues texts: add "
        "--generate",
    )
    ended = run_predict(f"--run={finished.folder}", "--generate", "x")
    assert ended.code == 2
    assert "holds a classifier, which labels texts" in ended.err
    ended = run_predict(f"--run={finished.folder}", "--top_p=0.5", "x")
    assert "--top_p=0.5: only --generate uses it" in ended.err


@pytest.mark.slow
def test_central_training_learns_the_same_task(tmp_path, run_central, speeches):
    values = {name: LANGUAGE[name] for name in ("task", "format", "vocabulary_size")}
    values |= {"client_learning_rate": 0.02, "epochs": 8, "evals_per_epoch": 1}
    ended = run_central(tmp_path / "central", corpus=speeches, **values)
    assert ended.code == 0, ended.err
    result = json.loads((tmp_path / "central" / "result.json").read_text())
    assert result["test"]["perplexity"] < result["test"]["unigram_perplexity"]
    with (tmp_path / "central" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert float(row["train_perplexity"]) == pytest.approx(
            np.exp(float(row["train_loss"])), rel=1e-4
        )


@pytest.fixture(scope="module")
def paired(tmp_path_factory):
    """Pairs that have the same animal, or not."""
    generator = random.Random(2)
    animals = ["cat", "dog", "bird", "fish"]
    path = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["first", "second", "label"])
        for number in range(240):
            one = generator.choice(animals)
            same = number % 2
            other = one if same else generator.choice([a for a in animals if a != one])
            pair = (f"a {one} sleeps {number}", f"the {other} is tired")
            writer.writerow([*pair, "same" if same else "different"])
    return path


@pytest.mark.slow  # tests/runs/test_pairs_run.py does the same by a call
def test_pairs_are_trained_and_predicted(tmp_path, run_train, run_predict, paired):
    folder = tmp_path / "pairs"
    values = {
        "task": "pairs",
        "corpus": paired,
        "text_column": "first",
        "second_text_column": "second",
        "label_column": "label",
    }
    ended = run_train(folder, complete=True, **values)
    assert ended.code == 0, ended.err
    result = json.loads((folder / "result.json").read_text())
    assert result["task"] == "pairs"
    run = f"--run={folder}"
    typed = run_predict(run, "--json", "a cat sleeps", "the cat is tired")
    assert typed.code == 0, typed.err
    shares = json.loads(typed.out)["probabilities"]
    columns = ("--text_column=first", "--second_text_column=second")
    table = tmp_path / "new.csv"
    table.write_text("first,second\na cat sleeps,the cat is tired\na cat sleeps,\n")
    labelled = run_predict(run, f"--file={table}", *columns)
    rows = list(csv.DictReader(labelled.out.splitlines()))
    assert rows[0]["predicted_label"] == max(shares, key=shares.get)
    assert float(rows[0]["probability"]) == pytest.approx(max(shares.values()), abs=1e-4)
    assert rows[1]["predicted_label"] == ""
    for arguments, words in (
        (("one",), "two texts a row"),
        ((f"--file={table}", "--text_column=first"), "--second_text_column is needed"),
    ):
        ended = run_predict(run, *arguments)
        assert ended.code == 2
        assert words in ended.err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"task": "pairs"}, "--task=pairs: give --second_text_column"),
        ({"second_text_column": "other"}, "only --task=pairs reads it"),
        ({"task": "language_model", "label_column": "label"}, "reads no labels"),
        ({"task": "language_model", "partition": "dirichlet"}, "--partition=dirichlet: deals rows"),
    ],
)
def test_mistakes_name_the_flag(tmp_path, run_train, flags, words):
    ended = run_train(tmp_path / "run", **flags)
    assert ended.code == 2
    assert words in ended.err
    assert len(ended.err.splitlines()) == 1
    assert not (tmp_path / "run").exists()
