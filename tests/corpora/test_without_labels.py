"""Every format can be read without labels."""

import json

import numpy as np
import pytest

from tff_nlp.clients import partitions
from tff_nlp.corpora import overlap
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.corpora.load import load_corpus, load_train_and_test
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.errors import UserError

LEAF = {
    "users": ["ann", "bob"],
    "num_samples": [1, 1],
    "user_data": {"ann": {"x": ["one"], "y": [1]}, "bob": {"x": ["two"], "y": [2]}},
}


@pytest.mark.parametrize(
    ("name", "content", "flags"),
    [
        ("x.csv", "text,who\none,ann\ntwo,bob\n", {"client_column": "who"}),
        ("x.csv", "text,label,who\none,,ann\ntwo,y,bob\n", {"client_column": "who"}),
        (
            "x.jsonl",
            '{"text": "one", "who": "ann"}\n{"text": "two", "who": "bob"}\n',
            {"client_column": "who"},
        ),
        ("x.json", json.dumps([{"text": "one"}, {"text": "two"}]), {}),
        ("x.json", json.dumps(LEAF), {}),
        ("x.txt", "one\ntwo\n", {}),
        (
            "x.review",
            "<review>\n<review_text>\none\n</review_text>\n</review>\n"
            "<review>\n<review_text>\ntwo\n</review_text>\n</review>\n",
            {},
        ),
    ],
)
def test_texts_without_labels(write, name, content, flags):
    loaded = load_corpus(CorpusSource(write(content, name), labelled=False, **flags))
    corpus = loaded.corpus
    assert corpus.texts == ("one", "two")
    assert corpus.authors in (None, ("ann", "bob"))
    assert (corpus.authors is None) == (not flags and "users" not in content)
    assert corpus.label_names == ()
    assert corpus.labels.shape == (0,)
    assert corpus.labels.dtype == np.int32
    assert (loaded.report.rows_read, loaded.report.rows_kept) == (2, 2)


def test_a_document(write):
    path = write("one\ntwo\n", "x.txt")
    assert load_corpus(CorpusSource(path, format="documents", labelled=False)).corpus.texts == (
        "one\ntwo",
    )


def test_the_synthetic_corpus():
    source = CorpusSource("synthetic:train=200,test=50,authors=10", labelled=False)
    both = load_train_and_test(source)
    assert not both.train.corpus.is_labelled
    assert not both.test.corpus.is_labelled
    assert both.train.corpus.authors is not None


@pytest.mark.parametrize("flag", ["label_column", "label_map", "label_file"])
def test_label_flags_are_refused(write, flag):
    path = write("text\none\n", "x.csv")
    with pytest.raises(UserError, match=f"{flag}=a:b: no labels are read here"):
        load_corpus(CorpusSource(path, labelled=False, **{flag: "a:b"}))


def corpus(labels=(), label_names=()):
    return Corpus("x", ("a", "b", "c"), np.array(labels, np.int32), label_names)


def test_rows_are_taken_without_labels():
    taken = corpus().take([2, 0])
    assert taken.texts == ("c", "a")
    assert not taken.is_labelled
    assert corpus().fingerprint != corpus([0, 0, 1], ("x", "y")).fingerprint


def test_nothing_is_left_to_train_on():
    with pytest.raises(UserError, match="test_corpus: all 3 training texts are also in"):
        overlap.drop_overlap(corpus(), corpus())


def test_labels_need_names():
    with pytest.raises(ValueError, match="x: 3 texts, 3 labels"):
        corpus([0, 0, 1])


def test_partitions_by_label_are_refused():
    with pytest.raises(UserError, match="partition=dirichlet: deals rows by their labels; x has"):
        partitions.dirichlet(corpus(), 2, 1.0, 0)
    with pytest.raises(UserError, match="partition=shards: deals rows by their labels"):
        partitions.shards(corpus(), 2, 1, 0)
    assert partitions.iid(corpus(), 2, 0).num_clients == 2
