"""Texts to predict are read in the same way as training texts, with or without labels."""

import gzip
import io
import json
import types

import pytest

from tff_nlp.corpora import formats, unlabelled
from tff_nlp.corpora.load import load_corpus
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.errors import UserError

TABLE = 'id,text,label\n1,"good, ""ดี""\r\nindeed",x\n2,bad,y\n3,so so,x\n'
RECORDS = [{"text": "good", "label": "x", "id": 1}, {"text": "bad", "label": "y", "id": 2.5}]


def read(path, **flags):
    return unlabelled.read_unlabelled(CorpusSource(path, labelled=False, to_predict=True, **flags))


def texts(path, **flags):
    return [row.text for row in read(path, **flags).rows]


@pytest.mark.parametrize(
    ("name", "content", "flags"),
    [
        ("x.csv", TABLE, {}),
        ("x.csv.gz", gzip.compress(TABLE.encode()), {}),
        ("x.csv", TABLE.encode("utf-16"), {"encoding": "utf-16"}),
        ("x.csv", "sep=;\n" + TABLE.replace(",", ";").replace("good;", "good,"), {}),
        ("x.tsv", "text\tlabel\ngood\tx\nbad\ty\n", {}),
        ("x.csv", "text,label\rgood,x\rbad,y\r", {}),
        ("x.csv", "good,x\nbad,y\n", {"header": False, "text_column": "0"}),
        ("x.csv", TABLE, {"text_column": "id,text"}),
        ("x.json", json.dumps({"data": RECORDS}), {}),
        ("x.jsonl", "\n".join(map(json.dumps, RECORDS)), {}),
    ],
)
def test_the_same_texts_as_in_training(write, name, content, flags):
    path = write(content, name)
    label = "1" if flags.get("header") is False else "label"
    trained = load_corpus(
        CorpusSource(path, label_column=label, **{"text_column": "text", **flags})
    )
    assert texts(path, **flags) == list(trained.corpus.texts)


def test_a_row_of_a_table_is_kept_as_it_is(write):
    found = read(write(TABLE))
    assert (found.format, found.delimiter, found.header) == ("csv", ",", ["id", "text", "label"])
    assert found.rows[0].values == ["1", 'good, "ดี"\r\nindeed', "x"]


def test_json_rows_are_kept_as_they_are(write):
    found = read(write(json.dumps(RECORDS), "x.json"))
    assert [row.values for row in found.rows] == RECORDS


def test_lines(write):
    for name in ("x.txt", "x", "x.log"):
        found = read(write(b"\xef\xbb\xbfgood\r\n\n NaN \nbad\0!\xc2\x85x", name))
        assert [row.text for row in found.rows] == ["good", None, None, "bad !\x85x"]
        assert [row.values for row in found.rows] == ["good", "", " NaN ", "bad !\x85x"]


def test_a_row_without_a_text_stays(write):
    assert texts(write("text,n\na,1\n,2\nNaN,3\n")) == ["a", None, None]
    assert texts(write('{"text": NaN}\n{"text": null}\n{"text": "a"}\n{}', "x.jsonl")) == [
        None,
        None,
        "a",
        None,
    ]


def test_rows_that_cannot_be_read(write):
    path = write("text,n\na,1\nb\nc,3\n")
    with pytest.raises(UserError, match="line 3: wrong column count .*bad_rows=skip"):
        read(path)
    found = read(path, bad_rows="skip")
    assert [row.text for row in found.rows] == ["a", "c"]
    assert found.skipped == {"wrong column count": 1}
    with pytest.raises(UserError, match="line 2: undecodable bytes"):
        read(write(b"ok\ncaf\xe9\n", "x.txt"))


@pytest.mark.parametrize(
    ("name", "content", "flags", "message"),
    [
        ("x.csv", "a,b\n1,2\n", {}, "text_column is needed"),
        ("x.csv", "Text,b\n1,2\n", {}, r"text_column=Text\?"),
        ("x.csv", "a;b\n1;2\n", {}, "'delimiter=;'"),
        ("x.jsonl", '{"a": 1}', {}, "text_column is needed"),
        ("x.txt", "a", {"text_column": "text"}, "read as plain text"),
        ("x.review", "<review>", {}, "not from reviews"),
        ("none.csv", None, {}, "file=.*no such file"),
    ],
)
def test_mistakes(write, tmp_path, name, content, flags, message):
    path = str(tmp_path / name) if content is None else write(content, name)
    with pytest.raises(UserError, match=message):
        read(path, **flags)


def test_files_of_different_columns(write):
    first = write("text,n\na,1\n", "a.csv")
    second = write("text,m\nb,1\n", "b.csv")
    with pytest.raises(UserError, match="its columns are not those of .*a.csv"):
        read(f"{first},{second}")
    write("text,n\nb,1\n", "b.csv")
    assert texts(f"{first},{second}") == ["a", "b"]


@pytest.mark.parametrize(("format_name", "expected"), [("auto", ["text", "a"]), ("csv", ["a"])])
def test_standard_input(monkeypatch, format_name, expected):
    piped = types.SimpleNamespace(buffer=io.BytesIO(b"text\r\na\r\n"))
    monkeypatch.setattr("sys.stdin", piped)
    assert texts(formats.STANDARD_INPUT, format=format_name) == expected
