"""The front door: its names, its weight, and a whole run through it."""

import csv
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import tff_nlp

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_the_names_are_there_and_documented():
    assert len(tff_nlp.__all__) <= 16
    assert set(tff_nlp.__all__) <= set(dir(tff_nlp))
    for name in tff_nlp.__all__:
        assert getattr(tff_nlp, name).__doc__.strip(), name
    with pytest.raises(AttributeError, match="no attribute 'fedavg'"):
        tff_nlp.fedavg  # noqa: B018


def test_importing_it_imports_nothing_heavy():
    code = (
        "import sys; import tff_nlp; "
        "print([m for m in ('tensorflow', 'numpy', 'tensorflow_federated') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"


WORDS = {"good": "lovely great fine warm kind", "bad": "awful broken cold rude late"}


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    """Rows that two words tell apart."""
    path = tmp_path_factory.mktemp("reviews") / "reviews.csv"
    rng = np.random.default_rng(1)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        for number in range(160):
            label = ("good", "bad")[number % 2]
            words = rng.choice(WORDS[label].split(), 3)
            rows.writerow([f"the {' '.join(words)} place number {number}", label])
    return path


def test_the_readmes_snippet_runs_as_it_stands(reviews, tmp_path, monkeypatch, capsys):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(import tff_nlp\n.*?)```", readme, re.DOTALL)
    assert len(code.strip().splitlines()) <= 15
    # A small encoder in place of MiniLM: the snippet must run on a machine without its wheel, too.
    small = (
        'encoder="random", encoder_layers=1, encoder_width=32, max_tokens=16, dropout=0.0, '
        "vocabulary_size=200, "
        f"cache_dir={str(tmp_path / 'cache')!r}"
    )
    code = code.replace('encoder="minilm"', small).replace('"reviews.csv"', repr(str(reviews)))
    # A network that begins at random needs larger steps than MiniLM.
    code = code.replace('"adamw", 3e-4', '"adamw", 3e-3')
    assert small in code and "3e-3" in code
    monkeypatch.chdir(tmp_path)
    given = {}
    exec(compile(code, "README.md", "exec"), given)
    trained, said = given["trained"], capsys.readouterr().out.splitlines()
    assert float(said[0]) == trained.evaluate(given["test"]).accuracy > 0.9
    assert [label for label, _ in trained.predict(["great kind place", "rude and late"])] == [
        "good",
        "bad",
    ]
    assert (tmp_path / "model" / "info.json").is_file()


@pytest.mark.slow
def test_a_stopped_call_goes_on(reviews, tmp_path):
    corpus = tff_nlp.read_corpus(reviews)
    clients = tff_nlp.partition(corpus, "iid", num_clients=4)
    classifier = tff_nlp.build_classifier(
        corpus,
        encoder="random",
        encoder_layers=1,
        encoder_width=16,
        max_tokens=12,
        cache_dir=tmp_path / "cache",
    )
    local = tff_nlp.LocalWork(tff_nlp.ClientOptimizer("sgd", 0.1))
    process = tff_nlp.scaffold(classifier.task, local, population=4)

    def run(folder, rounds):
        return tff_nlp.train(
            process,
            classifier,
            corpus,
            clients,
            rounds=rounds,
            clients_per_round=2,
            output_dir=tmp_path / folder,
        )

    with pytest.raises(tff_nlp.UserError, match="another configuration|rounds|rounds"):
        run("stopped", 2)
        run("stopped", 3)
    whole, again = run("whole", 3), run("whole", 3)
    for one, other in zip(whole.weights.trainable, again.weights.trainable, strict=True):
        np.testing.assert_array_equal(one, other)


def test_mistakes_name_the_argument(reviews, tmp_path):
    with pytest.raises(tff_nlp.UserError, match="label_column"):
        tff_nlp.read_corpus(reviews, text_column="text", label_column="stars")
    corpus = tff_nlp.read_corpus(reviews)
    with pytest.raises(tff_nlp.UserError, match="partition=fair"):
        tff_nlp.partition(corpus, "fair")
    with pytest.raises(tff_nlp.UserError, match="encoder_layers=3 has no effect with"):
        tff_nlp.build_classifier(corpus, encoder_layers=3)
    with pytest.raises(
        tff_nlp.UserError, match="layers: there is no such option; the options are enc"
    ):
        tff_nlp.build_classifier(corpus, layers=3)
    with pytest.raises(tff_nlp.UserError, match="test_fraction=2"):
        tff_nlp.split_corpus(corpus, test_fraction=2)
