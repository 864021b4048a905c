"""Masks e-mail addresses and numbers in texts that are logged."""

import re

from tff_nlp.printable import printable

_MOST_CHARACTERS = 200
# Longer texts are cut at a blank before they are masked, because the patterns are slow on them.
_MOST_MASKED = 500
# Each side of an @ without blanks counts, so that unusual addresses are masked too.
_EMAIL = re.compile(r"[^\s@<>\"'(),;:]+@[^\s@<>\"'(),;:]+")
# Digits of any script, with the signs that are written between the digits of telephone numbers,
# dates, amounts and accounts.
_NUMBER = re.compile(r"[+(]*\d(?:[\d.,:/()\u2010-\u2015 \u00a0-]*\d)?")


def masked(text: str) -> str:
    """Returns a text for the log: one line of 200 characters, without addresses and numbers.

    Names and other words stay. No part of an address or a number is left where the text is cut.
    """
    if len(text) > _MOST_MASKED:
        whole_words = text[:_MOST_MASKED].rsplit(maxsplit=1)
        text = f"{whole_words[0]} ..." if len(whole_words) > 1 else "..."
    without = _NUMBER.sub("[number]", _EMAIL.sub("[e-mail]", text))
    return printable(without, _MOST_CHARACTERS)
