"""Corpora that are given by name, not by path."""

import subprocess
import sys

import pytest

from tff_nlp.corpora import names
from tff_nlp.corpora.source import CorpusSource


def test_names_and_paths():
    assert names.find("synthetic").kind == "synthetic"
    assert names.find("synthetic:train=500") is names.NAMES["synthetic"]
    assert names.find("tfds:imdb_reviews") is names.NAMES["imdb_reviews"]
    assert names.find("tfds:anything/else").kind == "tfds"
    for path in ("./imdb_reviews", "imdb_reviews.csv", "tfds", "a:b.csv"):
        assert names.find(path) is None


def test_flags_win_over_known_columns():
    known = names.NAMES["sentiment140"]
    filled = names.fill_in(CorpusSource("sentiment140", client_column="date"), known)
    assert (filled.text_column, filled.label_column) == ("text", "polarity")
    assert filled.client_column == "date"
    assert filled.label_map == known.label_map
    assert filled.split == "train"
    other = names.fill_in(CorpusSource("sentiment140", label_column="query"), known)
    assert other.label_map == ""


@pytest.mark.parametrize("path", ["imdb_reviews", "tfds:unheard_of"])
def test_missing_tfds_is_one_line(path):
    program = (
        "import sys; sys.modules['tensorflow_datasets'] = None\n"
        "from tff_nlp.corpora.load import load_corpus\n"
        "from tff_nlp.corpora.source import CorpusSource\n"
        f"try:\n    load_corpus(CorpusSource('{path}'))\n"
        "except ValueError as error:\n    print(error)\n"
        "assert 'tensorflow' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(f"corpus={path}: tensorflow-datasets cannot be imported")
    assert run.stdout.count("\n") == 1
