"""Detects texts that were decoded with a wrong encoding before they were stored."""

import re

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
# The first two bytes of a UTF-8 character, as they look in Latin-1 or Windows-1252. Of the
# two-byte characters, only Latin, Greek, Cyrillic and Arabic letters are included, because other
# pairs occur in real texts, such as an E with an accent before a closing quote.
_START = re.compile("[\xc2-\xc5\xce-\xd1\xd8\xd9\xe0-\xf4][\x80-\xbf\u0152-\u02dc\u2013-\u2122]")
# Number of characters that are checked at each suspicious place: the longest UTF-8 character.
_AROUND = 4


def is_mojibake(text: str) -> bool:
    """Returns whether a text has UTF-8 that was read as Latin-1 or Windows-1252, or lost bytes.

    "cafÃ©" and "donâ€™t" are UTF-8 that was read wrongly. U+FFFD marks lost bytes.
    """
    if text.isascii():
        return False
    if _REPLACEMENT in text:
        return True
    return any(_decodes(text[m.start() : m.start() + _AROUND]) for m in _START.finditer(text))


def _decodes(part: str) -> bool:
    """Returns whether a part, encoded again, begins with one UTF-8 character."""
    for encoding in ("cp1252", "latin-1"):
        for end in range(2, len(part) + 1):
            try:
                decoded = part[:end].encode(encoding).decode("utf-8")
            except UnicodeError:
                continue
            if len(decoded) == 1:
                return True
    return False
