"""Files that are appended to survive a kill in the middle of a line."""

import pytest

from tff_nlp import durable_files


def test_a_half_line_is_removed_and_the_next_one_begins_a_line(tmp_path):
    path = tmp_path / "log.jsonl"
    durable_files.append_text(path, "one\ntwo\n")
    durable_files.append_text(path, "thr")
    assert durable_files.whole_lines(path) == ["one", "two"]
    durable_files.append_text(path, "three\n")
    assert path.read_text() == "one\ntwo\nthree\n"


def test_half_a_character_at_the_end_is_part_of_a_half_line(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes("one\nzw\u00f6lf".encode()[:-3])
    assert durable_files.whole_lines(path) == ["one"]


def test_no_file_has_no_lines(tmp_path):
    assert durable_files.whole_lines(tmp_path / "absent") == []


def test_a_line_that_is_not_text_is_an_error_and_the_file_stays(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"\xff\nhalf")
    with pytest.raises(ValueError, match="utf-8"):
        durable_files.whole_lines(path)
    assert path.read_bytes() == b"\xff\nhalf"
