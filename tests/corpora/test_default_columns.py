"""Columns with the names "text" and "label" need no flags, and the report mentions them."""

import json

import pytest

from tff_nlp.corpora.load import load_corpus, load_train_and_test
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.errors import UserError

ROWS = [("good", "pos", "ann"), ("bad", "neg", "bob"), ("fine", "pos", "ann")]


def table(names, delimiter=","):
    return "".join(delimiter.join(row) + "\n" for row in [names, *ROWS])


def records(names):
    return [dict(zip(names, row, strict=True)) for row in ROWS]


FILES = {
    "a.csv": table,
    "a.tsv": lambda names: table(names, "\t"),
    "a.jsonl": lambda names: "".join(json.dumps(record) + "\n" for record in records(names)),
    "a.json": lambda names: json.dumps(records(names)),
}


@pytest.fixture(params=FILES)
def write(request, tmp_path):
    def write(*names):
        path = tmp_path / request.param
        path.write_text(FILES[request.param](names))
        return str(path)

    return write


def test_default_columns_are_used_and_reported(write):
    loaded = load_corpus(CorpusSource(write("text", "label", "who")))
    assert loaded.corpus.texts == ("good", "bad", "fine")
    assert loaded.corpus.label_names == ("neg", "pos")
    said = "taken by the names of the columns: `text_column`=text `label_column`=label"
    assert said in loaded.report.lines()


def test_each_flag_has_its_own_default(write):
    loaded = load_corpus(CorpusSource(write("body", "label", "who"), text_column="body"))
    assert "taken by the names of the columns: `label_column`=label" in loaded.report.lines()


def test_given_columns_win_and_are_not_reported(write):
    source = CorpusSource(write("text", "label", "who"), text_column="who", label_column="label")
    loaded = load_corpus(source)
    assert loaded.corpus.texts == ("ann", "bob", "ann")
    assert not any("by the names" in line for line in loaded.report.lines())


@pytest.mark.parametrize(
    ("names", "flag"),
    [
        (("Text", "label", "who"), "text_column"),
        (("text", "labels", "who"), "label_column"),
        (("review", "stars", "who"), "text_column"),
    ],
)
def test_other_names_are_not_guessed(write, names, flag):
    with pytest.raises(UserError, match=f"{flag} is needed to read .*{names[0]}, {names[1]}"):
        load_corpus(CorpusSource(write(*names)))


def test_columns_without_a_header_have_no_names(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(table(["text", "label", "who"]))
    with pytest.raises(UserError, match="text_column is needed.*0 to 2"):
        load_corpus(CorpusSource(str(path), header=False))


def test_a_record_that_lacks_the_key_is_a_bad_row(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(FILES["a.jsonl"](["text", "label", "who"]) + '{"text": "no label"}\n')
    with pytest.raises(UserError, match="line 4: missing label"):
        load_corpus(CorpusSource(str(path)))


def test_too_many_labels_name_the_column(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "".join(f"text,{n}\n" for n in range(10_000)))
    with pytest.raises(UserError, match="label_column=label: more than 1000 labels"):
        load_corpus(CorpusSource(str(path)))


def test_the_test_corpus_has_defaults_too(write, tmp_path):
    test = tmp_path / "test.csv"
    test.write_text("label,text\npos,nice\nneg,no\n")
    loaded = load_train_and_test(
        CorpusSource(write("text", "label", "who")),
        CorpusSource(str(test), flag_prefix="test_"),
    )
    assert loaded.test.corpus.texts == ("nice", "no")
