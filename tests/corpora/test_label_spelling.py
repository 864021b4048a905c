"""Notes on labels that may be different spellings of one label."""

import shlex

import numpy as np

from tff_nlp.corpora.label_spelling import spelling_notes
from tff_nlp.corpora.load import load_corpus
from tff_nlp.corpora.source import CorpusSource, parse_label_map
from tff_nlp.errors import with_flags


def notes(**counts):
    return spelling_notes(list(counts), np.array(list(counts.values())))


def test_different_labels_give_no_notes():
    assert notes(pos=10, neg=10, neutral=2) == []


def test_case_blanks_and_misspellings_give_notes():
    said = spelling_notes(
        ["neg", "NEG", "Neg", "very good", "very  good", "nge", "other"],
        np.array([9, 2, 2, 8, 2, 1, 1]),
    )
    assert len(said) == 3
    assert "neg, NEG, Neg; very good, very  good" in said[0]
    assert said[1] == "labels with one row only: nge, other"
    mapping = parse_label_map(said[2].partition("`label_map`=")[2].strip("'"))
    assert dict(mapping) == {
        "neg": "neg",
        "NEG": "neg",
        "Neg": "neg",
        "very good": "very good",
        "very  good": "very good",
        "nge": "neg",
        "other": "other",
    }


def test_the_shell_and_the_flag_accept_the_proposed_map(write):
    content = "text,label\n" + "".join(
        f'text {row},"{label}"\n'
        for row, label in enumerate(["a, b's", "A, B's", "c:d", "C:D"] * 10)
    )
    path = write(content)
    (line,) = [line for line in load_corpus(CorpusSource(path)).report.lines() if "to join" in line]
    (flag,) = [word for word in shlex.split(with_flags(line)) if word.startswith("--label_map=")]
    joined = load_corpus(CorpusSource(path, label_map=flag.removeprefix("--label_map=")))
    assert joined.corpus.label_names == ("a, b's", "c:d")
    assert joined.corpus.label_counts().tolist() == [20, 20]


def test_numbers_are_not_misspellings_of_each_other():
    assert spelling_notes(["10", "11", "1.0"], np.array([9, 1, 9])) == [
        "labels with one row only: 11"
    ]
