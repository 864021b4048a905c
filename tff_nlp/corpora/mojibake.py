"""Texts that were decoded wrongly before they came here."""

import re

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# What the first byte of a UTF-8 character looks like in Latin-1 and Windows-1252, and a following:
# of those of two bytes only Latin, Greek, Cyrillic and Arabic letters, since others, such as an
# E with an accent before a closing quote, are real.
_START = re.compile("[\xc2-\xc5\xce-\xd1\xd8\xd9\xe0-\xf4][\x80-\xbf\u0152-\u02dc\u2013-\u2122]")
# Enough of a text to judge it by, wherever the first suspicious place is.
_AROUND = 4


def is_mojibake(text: str) -> bool:
    """Returns whether a text holds UTF-8 that was read as Latin-1 or Windows-1252, or lost bytes.

    "cafÃ©" and "donâ€™t" are of the first kind, U+FFFD stands for the second.
    """
    if text.isascii():
        return False
    if _REPLACEMENT in text:
        return True
    return any(_decodes(text[m.start() : m.start() + _AROUND]) for m in _START.finditer(text))


def _decodes(part: str) -> bool:
    """Returns whether a part begins with a character of UTF-8 when its own decoding is undone."""
    for encoding in ("cp1252", "latin-1"):
        for end in range(2, len(part) + 1):
            try:
                decoded = part[:end].encode(encoding).decode("utf-8")
            except UnicodeError:
                continue
            if len(decoded) == 1:
                return True
    return False
