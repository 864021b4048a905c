"""Texts of other people are printed as one line without control characters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tff_nlp.printable import printable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain, ดี, 外卖 👍🏽!", "plain, ดี, 外卖 👍🏽!"),
        ("line\nfeed\r\x1b[31mred\x07\x9b", r"line\nfeed\r\x1b[31mred\x07\x9b"),
        ("right\u202eleft\u2066\u200e\ufeff", r"right\u202eleft\u2066\u200e\ufeff"),
        ("two\u2028lines\x85", r"two\u2028lines\x85"),
        ("caf\udce9.csv \ud83d", r"caf\xe9.csv \ud83d"),
        ("میخواهم\u200cها", "میخواهم\u200cها"),
        ("no\xa0break", "no\xa0break"),
    ],
)
def test_control_characters_are_escaped(text, expected):
    assert printable(text) == expected


def test_long_texts_are_cut():
    assert printable("x" * 50, 10) == "xxxxxxx..."
    assert printable("x" * 10, 10) == "x" * 10


@given(st.text())
def test_any_text_is_one_line_that_can_be_written(text):
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert not any(character < " " or "\x7f" <= character <= "\x9f" for character in shown)
    shown.encode("utf-8")
