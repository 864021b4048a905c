"""No row of metrics.csv is lost or doubled after a kill."""

import csv
import math
import os

import pytest

from tff_nlp import errors
from tff_nlp.program import metrics_log


@pytest.fixture
def path(tmp_path):
    return tmp_path / "metrics.csv"


def opened(path, rounds=0):
    log = metrics_log.MetricsLog(path, ["loss", "accuracy"])
    log.rewind(rounds)
    return log


def filled(path, rounds=4):
    log = opened(path)
    for number in range(1, rounds + 1):
        log.append({"round": number, "loss": 1 / number, "accuracy": 0.5})
    return log


def test_python_reads_what_was_written(path):
    log = filled(path, 2)
    log.append({"round": 3, "loss": 1 / 3})
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == log.rows()
    assert [row["round"] for row in rows] == ["1", "2", "3"]
    assert float(rows[2]["loss"]) == 1 / 3
    assert rows[2]["accuracy"] == ""


@pytest.mark.parametrize("rounds", [0, 1, 3, 4])
def test_rewinding_drops_later_rows_only(path, rounds):
    before = filled(path).rows()
    log = opened(path, rounds)
    assert log.rows() == before[:rounds]
    log.append({"round": rounds + 1, "loss": 9.0})
    assert [row["round"] for row in log.rows()] == [str(n + 1) for n in range(rounds + 1)]


def test_a_row_cut_anywhere_is_no_row(path):
    filled(path, 3)
    whole = path.read_bytes()
    start = whole.rindex(b"3,")
    for end in range(start, len(whole)):
        path.write_bytes(whole[:end])
        log = opened(path, 2)
        log.append({"round": 3, "loss": 1 / 3, "accuracy": 0.5})
        assert path.read_bytes() == whole


def test_a_cut_header_is_written_again(path):
    path.write_text("round,lo")
    assert opened(path).rows() == []
    assert path.read_text() == "round,loss,accuracy\n"


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "round,loss,accuracy\n2,0.5,0.5\n3,0.5,0.5\n",
        "round,loss,accuracy\n1,0.5,0.5\n1,0.5,0.5\n2,0.5,0.5\n3,0.5,0.5\n",
        "step,x\n1,2\n",
        "\xff\xfe\n",
    ],
)
def test_missing_rows_of_completed_rounds_are_refused(path, content):
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    with pytest.raises(errors.UserError, match=r"metrics\.csv should have a row for each of the 3"):
        opened(path, 3)
    assert not path.exists() if content is None else path.read_bytes() == content.encode("latin-1")


def test_unknown_columns_are_a_defect(path):
    with pytest.raises(ValueError, match="no such columns: f1"):
        opened(path).append({"round": 1, "f1": 0.5})


def test_numbers_that_are_not_finite_survive(path):
    log = opened(path)
    log.append({"round": 1, "loss": math.nan, "accuracy": math.inf})
    (row,) = opened(path, 1).rows()
    assert math.isnan(float(row["loss"]))
    assert float(row["accuracy"]) == math.inf


def test_a_full_disk_is_one_line(path, monkeypatch):
    log = filled(path, 1)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(errors.RunError, match=r"metrics\.csv: .*No space left on device"):
        log.append({"round": 2, "loss": 0.1})
