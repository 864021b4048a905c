"""JSON files in the layouts that people and libraries such as pandas write."""

import gzip
import json
import math

import pytest

from tff_nlp.corpora.load import load_corpus
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.errors import UserError

ROWS = [("poor cup", "neg"), ("fine\ncup ดี", "pos"), ("so so", "neg")]
RECORDS = [{"text": text, "label": label} for text, label in ROWS]
# The output of pandas.DataFrame(RECORDS).to_json for each `orient`, and other common layouts.
FORMS = {
    "records": RECORDS,
    "index": {str(number): record for number, record in enumerate(RECORDS)},
    "columns": {
        name: {str(number): record[name] for number, record in enumerate(RECORDS)}
        for name in ("text", "label")
    },
    "split": {
        "columns": ["text", "label"],
        "index": [0, 1, 2],
        "data": [[text, label] for text, label in ROWS],
    },
    "table": {
        "schema": {"fields": [{"name": "text", "type": "string"}], "pandas_version": "1.4.0"},
        "data": RECORDS,
    },
    "lists": {"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]},
    "named": {f"review{number}": record for number, record in enumerate(RECORDS)},
    "wrapped": {"meta": {"tags": ["a"]}, "data": RECORDS},
    "deep": {"response": {"page": 1, "reviews": RECORDS}},
}


def load(path, **flags):
    return load_corpus(CorpusSource(path, **flags))


def rows_of(loaded):
    names = loaded.corpus.label_names
    return [
        (t, names[label])
        for t, label in zip(loaded.corpus.texts, loaded.corpus.labels, strict=True)
    ]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("indent", [None, 1])
def test_forms(write, form, indent):
    content = json.dumps(FORMS[form], indent=indent)
    assert rows_of(load(write(content, "x.json"))) == ROWS
    packed = write(gzip.compress(content.encode("utf-16")), "x.json.gz")
    assert rows_of(load(packed, encoding="utf-16")) == ROWS


def test_the_path_to_the_rows(write):
    value = {"train": {"rows": RECORDS}, "test": {"rows": RECORDS[:2]}}
    path = write(json.dumps(value), "x.json")
    with pytest.raises(UserError, match=r"several lists .* record_path: train.rows, test.rows"):
        load(path)
    assert rows_of(load(path, record_path="test.rows")) == ROWS[:2]
    with pytest.raises(UserError, match="record_path=dev.rows: .* the keys train, test"):
        load(path, record_path="dev.rows")
    with pytest.raises(UserError, match="record_path=a: only format=json has one"):
        load(write("text,label\n"), record_path="a")
    found = load(write(json.dumps(FORMS["deep"]), "x.json")).report.lines()
    assert any("`record_path`=response.reviews" in line for line in found)


def test_json_lines_and_one_json_value_are_distinguished(write):
    lines = "\n".join(map(json.dumps, RECORDS))
    assert rows_of(load(write(lines, "x.json"))) == ROWS
    with pytest.raises(UserError, match="say format=jsonl"):
        load(write(lines, "x.json"), format="json")
    for indent in (None, 1):
        path = write(json.dumps(RECORDS, indent=indent), "x.jsonl")
        with pytest.raises(UserError, match="say format=json"):
            load(path)
    damaged = '{"text": "a", "lab\n' + lines
    assert load(write(damaged, "x.json"), bad_rows="skip").report.skipped == {"malformed JSON": 1}


@pytest.mark.parametrize("content", ["", "{", '{"a": 1}', "[1, 2]", '"text"', "null", "{}", "[]"])
def test_a_file_without_rows_is_refused(write, content):
    with pytest.raises(UserError) as error:
        load(write(content, "x.json"))
    assert "x.json" in str(error.value)


def test_columns_of_different_lengths(write):
    with pytest.raises(UserError, match="not every column one of its length"):
        load(write('{"text": ["a", "b"], "label": ["x"]}', "x.json"))


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, "NaN", "null"])
@pytest.mark.parametrize("name", ["x.jsonl", "x.json"])
def test_null_and_nan_count_as_missing(write, name, value):
    records = [*RECORDS, {"text": "no label", "label": value}, {"text": value, "label": "pos"}]
    content = json.dumps(records)
    if name == "x.jsonl":
        content = "\n".join(map(json.dumps, records))
    loaded = load(write(content, name), bad_rows="skip")
    assert rows_of(loaded) == ROWS
    assert loaded.report.skipped == {"missing label": 1, "empty text": 1}
    with pytest.raises(UserError, match=r"(line|item) \d: missing label"):
        load(write(content, name))


def test_huge_numbers(write):
    digits = "9" * 6000
    lines = f'{{"text": "a", "label": {digits}}}\n{{"text": "b", "label": 2}}'
    assert load(write(lines, "x.jsonl")).corpus.label_names == ("2", digits)
    beyond = lines.replace(digits, "1e999")
    assert load(write(beyond + "\n" + lines, "x.jsonl"), bad_rows="skip").report.skipped == {
        "missing label": 1
    }


def test_deeply_nested_values(write):
    deep = '{"a":' * 100_000
    content = "\n".join([deep, *map(json.dumps, RECORDS)])
    with pytest.raises(UserError, match="line 1: malformed JSON .nested too deeply"):
        load(write(content, "x.jsonl"))
    with pytest.raises(UserError, match="malformed JSON: nested too deeply"):
        load(write("[" * 100_000, "x.json"))


def test_keys_that_differ_in_case_only(write):
    content = "\n".join(json.dumps({"Text": t, "label": n}) for t, n in ROWS)
    with pytest.raises(UserError, match=r"text_column=Text\?"):
        load(write(content, "x.jsonl"))
    with pytest.raises(UserError, match="'Text' differs in case only"):
        load(write(content, "x.jsonl"), text_column="text", label_column="label")
