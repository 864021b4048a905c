"""Texts that are in both the training and the test corpus."""

import numpy as np
import pytest
from sklearn.datasets import make_classification

from tff_nlp.corpora.corpus import Corpus
from tff_nlp.corpora.load import load_train_and_test
from tff_nlp.corpora.overlap import drop_overlap, normalize, split
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.errors import UserError


def corpus(texts, labels=None):
    if labels is None:
        labels = np.arange(len(texts)) % 2
    return Corpus("made", tuple(texts), np.asarray(labels, dtype=np.int32), ("a", "b"))


def test_normal_form():
    assert normalize(" Caf\u0065\u0301\u00a0 NOIR\n") == normalize("caf\u00e9 noir") == "café noir"
    assert normalize("one two") != normalize("onetwo")


def test_shared_texts_leave_train():
    train = corpus(["one", "Two ", "three", "two", "four"], [0, 1, 1, 0, 0])
    test = corpus(["TWO", "five", "two", "six"])
    kept, report = drop_overlap(train, test)
    assert kept.texts == ("one", "three", "four")
    assert kept.labels.tolist() == [0, 1, 0]
    assert (report.shared_texts, report.train_rows, report.test_rows) == (1, 2, 2)
    assert report.dropped
    assert "left out of train" in report.line()
    same, report = drop_overlap(train, test, keep=True)
    assert same is train
    assert not report.dropped
    assert "KEPT" in report.line()


def test_every_label_must_keep_a_training_row():
    train = corpus(["one", "two", "three"], [0, 0, 1])
    with pytest.raises(UserError, match="no row has the label 'b'"):
        drop_overlap(train, corpus(["three"]))


@pytest.mark.parametrize("stratify", [True, False])
def test_split_keeps_equal_texts_together(stratify):
    _, labels = make_classification(900, weights=[0.8], random_state=0)
    texts = [f"text {row % 300}" for row in range(900)]
    whole = corpus(texts, labels)
    train, test = split(whole, 0.25, 7, stratify=stratify)
    assert len(train) + len(test) == 900
    assert not {*train.texts} & {*test.texts}
    assert abs(len(test) - 225) <= 3
    again = split(whole, 0.25, 7, stratify=stratify)
    assert [part.fingerprint for part in again] == [train.fingerprint, test.fingerprint]
    assert split(whole, 0.25, 8, stratify=stratify)[1].fingerprint != test.fingerprint


def test_split_is_stratified():
    whole = corpus([f"text {row}" for row in range(1000)], [row % 10 == 0 for row in range(1000)])
    _, test = split(whole, 0.2, 0)
    assert test.label_counts().tolist() == [180, 20]


def test_every_label_with_two_texts_gets_a_test_row():
    labels = [0] * 100 + [1] * 2 + [2] + [3] * 2
    texts = [f"text {row}" for row in range(103)] + ["same", "same"]
    train, test = split(corpus(texts, labels), 0.2, 0)
    assert np.bincount(test.labels, minlength=4).tolist() == [20, 1, 0, 0]
    assert np.bincount(train.labels, minlength=4).tolist() == [80, 1, 1, 2]


def test_a_part_that_would_be_empty_is_refused():
    with pytest.raises(UserError, match="test_fraction"):
        split(corpus(["one", "two", "three"]), 0.001, 0, stratify=False)


@pytest.mark.parametrize("fraction", [0, 1, -0.5, 2])
def test_wrong_fractions_are_refused(fraction):
    with pytest.raises(UserError, match="test_fraction"):
        split(corpus(["one", "two", "three"]), fraction, 0)


def test_train_and_test_files(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("t,l\n" + "".join(f"text {n},{n % 2}\n" for n in range(20)))
    other = tmp_path / "test.csv"
    other.write_text("t,l\nTEXT  3,1\nnew,0\n")
    source = CorpusSource(str(path), text_column="t", label_column="l")
    test_source = CorpusSource(str(other), text_column="t", label_column="l", flag_prefix="test_")
    both = load_train_and_test(source, test_source)
    assert both.overlap.train_rows == 1
    assert len(both.train.corpus) == 19
    assert both.origin.startswith("`test_corpus`=")
    drawn = load_train_and_test(source, test_fraction=0.25, seed=3)
    assert (len(drawn.train.corpus), len(drawn.test.corpus)) == (15, 5) or (
        len(drawn.train.corpus),
        len(drawn.test.corpus),
    ) == (16, 4)
    assert "a random 25%" in drawn.origin
