"""Pairs of texts: reading, splitting, comparing and predicting them."""

import json

import numpy as np
import pytest

from tff_nlp.clients import partitions
from tff_nlp.clients.splits import split_clients
from tff_nlp.corpora import overlap, unlabelled
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.corpora.load import load_corpus
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.errors import UserError

ROWS = [
    ("It rains.", "It is wet.", "yes", "ann"),
    ('She said "no".', "She agreed.", "no", "bob"),
    ("It rains.", "It is dry.", "no", "ann"),
]
NAMES = ("#1 String", "#2 String", "same", "who")
FLAGS = {"text_column": "#1 String", "second_text_column": "#2 String", "label_column": "same"}


def table(delimiter, quote='"'):
    quoted = [
        [quote + v.replace('"', 2 * quote if quote else '"') + quote for v in row] for row in ROWS
    ]
    return "\n".join(delimiter.join(row) for row in [NAMES, *quoted]) + "\n"


def records():
    return [dict(zip(NAMES, row, strict=True)) for row in ROWS]


FILES = {
    "x.csv": (table(","), {}),
    "x.tsv": (table("\t", ""), {"quoting": "none"}),
    "x.json": (json.dumps({"data": records()}), {}),
    "x.jsonl": ("\n".join(map(json.dumps, records())), {}),
}


@pytest.fixture
def load(write):
    def load_one(content, name="x.csv", **flags):
        return load_corpus(CorpusSource(write(content, name), **{**FLAGS, **flags}))

    return load_one


@pytest.mark.parametrize("name", FILES)
def test_every_format_with_columns_gives_the_same_pairs(load, name):
    content, flags = FILES[name]
    corpus = load(content, name, client_column="who", **flags).corpus
    first, second, labels, authors = zip(*ROWS, strict=True)
    assert (corpus.texts, corpus.second_texts, corpus.authors) == (first, second, authors)
    assert [corpus.label_names[label] for label in corpus.labels] == list(labels)
    assert corpus.has_pairs and corpus.examples == tuple(zip(first, second, strict=True))
    assert corpus.all_texts == first + second


def test_several_columns_are_joined(load):
    corpus = load(table(","), second_text_column="#2 String,who").corpus
    assert corpus.second_texts[0] == "It is wet. ann"


def test_a_prefix_is_stripped_from_both(load):
    corpus = load(table(","), strip_prefix="It").corpus
    assert (corpus.texts[0], corpus.second_texts[0]) == ("rains.", "is wet.")


@pytest.mark.parametrize(
    ("name", "content", "flags", "message"),
    [
        (
            "x.csv",
            "a,b,same\nx,y,1\nx,,2\n",
            {},
            r"line 3: empty second text \(second_text_column=b\); bad_rows=skip",
        ),
        (
            "x.csv",
            "a,b,same\nx,NaN,1\n",
            {},
            r"second_text_column=b; 'NaN' counts as missing by missing_values",
        ),
        ("x.csv", "a,b,same\n,y,1\n", {}, r"line 2: empty text \(text_column=a\)"),
        (
            "x.jsonl",
            '{"a": "x", "B": "y", "same": 1}',
            {},
            r"empty second text \(second_text_column=b; 'B' differs in case only",
        ),
        ("x.csv", b"a,b,same\nx,caf\xe9,1\n", {}, "undecodable bytes .in second_text_column=b"),
        ("x.csv", b"a,b,same\ncaf\xe9,y,1\n", {}, "undecodable bytes .in text_column=a"),
        (
            "x.csv",
            "a,c,same\nx,y,1\n",
            {},
            "second_text_column=b: no such column in .*a, c, same",
        ),
        ("x.txt", "x\ny\n", {"text_column": "", "label_column": "@stem"}, "=b: .*not from lines"),
        ("x.csv", "a,b,same\nx,y,1\n", {"text_column": "b"}, "=b: is text_column, too"),
        ("x.csv", "text,a,b\nx,y,1\n", {"text_column": "", "second_text_column": "text"}, "too$"),
    ],
)
def test_each_mistake_names_the_column(load, name, content, flags, message):
    columns = {"text_column": "a", "second_text_column": "b"}
    with pytest.raises(UserError, match=message) as raised:
        load(content, name, **{**columns, **flags})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("path", ["synthetic", "vader", "glue/sst2"])
def test_named_corpora_have_no_pairs(path):
    with pytest.raises(UserError, match="second_text_column=b: pairs of texts are read from csv"):
        load_corpus(CorpusSource(path, second_text_column="b"))


def test_bad_rows_are_counted_by_column(load):
    report = load(
        "a,b,same\nx,y,1\n,y,1\nx,,2\nz,y,2\n",
        text_column="a",
        second_text_column="b",
        bad_rows="skip",
    ).report
    assert dict(report.skipped) == {"empty text": 1, "empty second text": 1}
    assert report.rows_kept == 2


def made(pairs, labels=None, authors=None):
    first, second = zip(*pairs, strict=True)
    labels = np.arange(len(pairs)) % 2 if labels is None else labels
    return Corpus(
        "made", first, np.asarray(labels, np.int32), ("a", "b"), authors, second_texts=second
    )


def test_rows_are_taken_with_their_second_texts():
    corpus = made([("a", "1"), ("b", "2"), ("c", "3")]).take([2, 0])
    assert corpus.examples == (("c", "3"), ("a", "1"))
    with pytest.raises(ValueError, match="2 texts, 1 second texts"):
        Corpus("x", ("a", "b"), np.zeros(2, np.int32), ("l",), second_texts=("c",))


def test_fingerprints():
    def corpus(second):
        return Corpus("x", ("a", "b"), np.array([0, 1], np.int32), ("l", "m"), None, False, second)

    # The fingerprint from before second texts existed. Caches and runs rely on it.
    kept = "3b84a04a98522046f8677b801fb463a2f9dd1a41358b2528c48484b94f62deea"
    assert corpus(None).fingerprint == kept
    others = [(), ("", ""), ("a", "b"), ("b", "a"), ("ab", "")]
    found = {corpus(second).fingerprint for second in others[1:]}
    assert len(found) == 4 and kept not in found


def test_overlap_compares_whole_pairs():
    train = made([("Hello  you", "one"), ("hello you", "two"), ("one", "hello you"), ("x", "y")])
    test = made([("hello YOU", "ONE"), ("hello you", "three")])
    kept, report = overlap.drop_overlap(train, test)
    assert kept.examples == train.examples[1:]
    assert (report.shared_texts, report.train_rows, report.test_rows) == (1, 1, 1)
    assert report.line().startswith("1 pairs of texts are in both train and test")
    _, report = overlap.drop_overlap(kept, test)
    assert report.line() == "no pair of texts is in both train and test"


def test_a_split_keeps_equal_pairs_together():
    """First texts repeat in both parts, but whole pairs do not."""
    corpus = made([(f"text {row % 3}", f"second {row // 2}") for row in range(0, 400)])
    doubled = corpus.take([*range(400), *range(400)])
    train, test = overlap.split(doubled, 0.25, 1)
    assert (len(train), len(test)) == (600, 200)
    assert not set(train.examples) & set(test.examples)
    assert set(train.texts) == set(test.texts)


def test_clients_share_no_pair():
    pairs = [(f"text {row % 2}", f"second {row % 30}") for row in range(40)]
    corpus = made(pairs, authors=tuple(f"client {row % 8}" for row in range(40)))
    splits = split_clients(partitions.iid(corpus, 8, 0), corpus, 0, test_fraction=0.5)
    sides = [{corpus.examples[row] for row in part.rows} for part in (splits.train, splits.test)]
    assert len(splits.test.rows) > 5  # If only first texts were compared, none would remain.
    assert not sides[0] & sides[1]


@pytest.mark.parametrize("name", FILES)
def test_pairs_to_predict_are_the_same_as_in_training(load, write, name):
    content, flags = FILES[name]
    given = {key: value for key, value in FLAGS.items() if key != "label_column"} | flags
    source = CorpusSource(write(content, name), labelled=False, to_predict=True, **given)
    found = unlabelled.read_unlabelled(source)
    assert [row.example for row in found.rows] == list(load(content, name, **flags).corpus.examples)
    assert len(found.rows[0].values) == 4


def test_a_row_without_one_of_its_texts_is_not_predicted(write):
    def read(content, name, **flags):
        columns = {"text_column": "a", "second_text_column": "b", **flags}
        source = CorpusSource(write(content, name), labelled=False, to_predict=True, **columns)
        return [row.example for row in unlabelled.read_unlabelled(source).rows]

    assert read("a,b\nx,y\n,y\nx,NaN\n", "x.csv") == [("x", "y"), None, None]
    assert read('{"a": "x", "b": "y"}\n{"a": "x"}\n{"b": "y"}', "x.jsonl") == [
        ("x", "y"),
        None,
        None,
    ]
    with pytest.raises(UserError, match="second_text_column=b: .*not from lines"):
        read("x\n", "x.txt", text_column="")
    with pytest.raises(UserError, match="line 2: undecodable bytes .in second_text_column=b"):
        read(b"a,b\nx,caf\xe9\n", "x.csv")
