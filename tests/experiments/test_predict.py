"""predict.py: what people have goes in, the same with labels comes out."""

import csv
import io
import json
import os
import pathlib
import subprocess
import sys

import pytest

from tff_nlp.corpora import unlabelled
from tff_nlp.errors import RunError, UserError
from tff_nlp.runs import answered_rows, answers

ROWS = [
    {"id": "1", "review": "great phone", "note": "a;b"},
    {"id": "2", "review": 'awful "phone"\nbroken, sad', "note": ""},
    {"id": "3", "review": "", "note": "no text"},
    {"id": "4", "review": "ดี \x1b[31mlovely", "note": "\u202e"},
]


def written(rows, delimiter=","):
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def without_prediction(row):
    return {name: row[name] for name in ("id", "review", "note")}


@pytest.fixture
def predict(finished, run_predict):
    def run(*arguments):
        ended = run_predict(f"--run={finished.folder}", *arguments)
        assert ended.code == 0, ended.err
        return ended

    return run


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "delimiter"), [("x.csv", ","), ("x.csv", ";"), ("x.tsv", "\t")])
def test_tables(predict, tmp_path, name, delimiter):
    path = tmp_path / name
    path.write_text(written(ROWS, delimiter), encoding="utf-8", newline="")
    flags = [f"--file={path}", "--text_column=review", f"--delimiter={delimiter}"]
    ended = predict(*flags)
    found = list(csv.DictReader(io.StringIO(ended.out, newline=""), delimiter=delimiter))
    assert [without_prediction(row) for row in found] == ROWS
    labels = [row["predicted_label"] for row in found]
    assert labels[2] == found[2]["probability"] == ""
    assert {labels[0], labels[1], labels[3]} <= {"good", "bad"}
    assert all(0.5 <= float(found[row]["probability"]) <= 1 for row in (0, 1, 3))
    assert "1 rows have no text" in ended.err

    output = tmp_path / "labelled.csv"
    predict(*flags, f"--output={output}")
    assert output.read_bytes().decode() == ended.out
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "labelled.csv"])

    records = [json.loads(line) for line in predict(*flags, "--json").out.splitlines()]
    assert [without_prediction(record) for record in records] == ROWS
    assert [record["predicted_label"] for record in records] == [label or None for label in labels]
    assert records[2]["probabilities"] is None
    assert sorted(records[0]["probabilities"]) == ["bad", "good"]


def test_json(predict, tmp_path):
    records = [{"body": {"text": row["review"]}, "stars": 4.5, "ok": None} for row in ROWS]
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"reviews": records}), encoding="utf-8")
    ended = predict(f"--file={path}", "--text_column=body.text")
    found = [json.loads(line) for line in ended.out.split("\n")[:-1]]
    assert [{name: row[name] for name in records[0]} for row in found] == records
    assert found[2]["predicted_label"] is None


def test_texts_print_one_line_each(predict, tmp_path):
    texts = ["great\nphone", "tab\tstays", "esc\x1b[2J", ""]
    lines = predict(*texts).out.split("\n")[:-1]
    assert [line.split("\t", 2)[2] for line in lines] == [
        r"great\nphone",
        "tab\tstays",
        r"esc\x1b[2J",
        "",
    ]
    assert lines[3] == "\t\t"


def test_what_is_lost_is_said(predict):
    assert "cut" not in predict("great phone").err
    ended = predict("great phone " * 20, "great phone")
    assert "50.0% of 2 texts are longer than --max_tokens=16" in ended.err


def test_a_column_of_the_output_is_there_already(run_predict, finished, tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("text,predicted_label\na,b\n")
    ended = run_predict(f"--run={finished.folder}", f"--file={path}")
    assert (ended.code, ended.out) == (2, "")
    assert "has a column 'predicted_label' already" in ended.err


def test_an_output_that_cannot_be_written_is_refused_before_the_work(
    run_predict, finished, tmp_path, monkeypatch
):
    monkeypatch.setattr(os, "access", lambda *_: False)
    ended = run_predict(f"--run={finished.folder}", f"--output={tmp_path / 'x.csv'}", "fine")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("predict.py: --output=")
    assert ended.err.endswith(f"cannot be written (no permission to write into {tmp_path})\n")


def test_columns_of_one_name(run_predict, finished, tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("text,n,n\na,1,2\n")
    ended = run_predict(f"--run={finished.folder}", f"--file={path}", "--json")
    assert (ended.code, ended.out) == (2, "")
    assert "several columns named 'n'" in ended.err


def test_a_disk_that_fills(tmp_path, monkeypatch):
    def fill(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fill)
    with pytest.raises(RunError, match=r"output=.*x.csv: cannot be written .No space"):
        answered_rows.write_new(tmp_path / "x.csv", iter(["a", "b"]))
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("mine")
    with pytest.raises(UserError, match="nothing is overwritten"):
        answered_rows.write_new(path, iter(["a"]))
    assert path.read_text() == "mine"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.csv"]


def test_a_terminal_gets_nothing_that_it_would_obey():
    row = unlabelled.UnlabelledRow(None, ["\x1b[31m", "a\tb"])
    given = unlabelled.Unlabelled("csv", None, ",", (row,), {}, ())
    nothing = answers.Labels((), (), ("x",))
    for safe, expected in ((True, "\\x1b[31m,a\\tb,,"), (False, "\x1b[31m,a\tb,,")):
        shown = answered_rows.lines(given, nothing, as_json=False, safe=safe)
        assert list(shown) == [expected]


def test_a_reader_that_goes_away(tmp_path):
    """As `| head -1` does; a script that prints more than a pipe holds stands for all."""
    script = tmp_path / "prints.py"
    script.write_text(
        "from absl import flags\n"
        "from experiments.command_line import entry\n"
        "def main():\n"
        "    for number in range(100_000):\n"
        "        print('line', number)\n"
        "entry.run(main, flags.FlagValues())\n"
    )
    pipe = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(pathlib.Path.cwd())},
    )
    assert pipe.stdout.readline() == b"line 0\n"
    pipe.stdout.close()
    assert pipe.stderr.read() == b""
    assert pipe.wait() == 141
