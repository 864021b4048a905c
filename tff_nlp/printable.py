"""Makes texts from other people safe to print."""

import unicodedata

# Unsafe Unicode categories: control characters; invisible characters and those that change the
# direction of writing; surrogates, which also represent bytes of file names that are not UTF-8;
# line and paragraph separators.
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Joiners are parts of words in several scripts, and of emoji.
_SAFE = frozenset("\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}")


def printable(text: str, most: int | None = None) -> str:
    r"""Returns a text as one line in which unsafe characters are escaped: "\n", "\x1b" and so on.

    Args:
      text: A label, a text, a file name, or a sentence that contains them.
      most: Maximum number of characters before escaping. A longer text is cut and ends with "...".
        None for no limit.
    """
    if most is not None and len(text) > most:
        text = text[: most - 3] + "..."
    if text.isprintable():
        return text
    return "".join(map(_spelled, text))


def _spelled(character: str) -> str:
    if character.isprintable() or character in _SAFE:
        return character
    if unicodedata.category(character) not in _UNSAFE:
        return character  # Other kinds of blanks, and characters newer than this Python.
    if "\udc00" <= character <= "\udcff":  # A byte that was not UTF-8.
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
