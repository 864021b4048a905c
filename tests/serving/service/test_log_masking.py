"""Addresses and numbers are masked in logged texts."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tff_nlp.serving.service.log_masking import masked


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Write to ann.lee+x@mail.example.org, please", "Write to [e-mail], please"),
        ("<bob@localhost> wrote", "<[e-mail]> wrote"),
        ("Call +49 (30) 123-456 now", "Call [number] now"),
        ("Card 4111 1111 1111 1111.", "Card [number]."),
        ("on 2024-05-06 at 10:30 in 7", "on [number] at [number] in [number]"),
        ("room ٣٤٥", "room [number]"),
        ("No digits here", "No digits here"),
        ("two\nlines\x1b[1m", "two\\nlines\\x1b[[number]m"),
    ],
)
def test_examples(text, shown):
    assert masked(text) == shown


# Without characters that the log escapes, because "\\x1b" has digits.
WRITTEN = st.text(st.characters(exclude_categories=("C", "Z")) | st.sampled_from("12 .-@"))


@given(WRITTEN)
def test_no_digit_and_no_address_is_left(text):
    shown = masked(text)
    assert not any(character.isdecimal() for character in shown)
    assert not re.search(r"\w@\w", shown)


def test_long_texts_are_cut_quickly_and_leave_no_part_of_an_address():
    began = time.perf_counter()
    for text in ("a" * 10**6, "1-" * 10**6, "a@" * 10**6, "word " * 99 + "ann.lee@example.org"):
        shown = masked(text)
        assert len(shown) <= 200
        assert "ann.lee" not in shown
    assert time.perf_counter() - began < 1
