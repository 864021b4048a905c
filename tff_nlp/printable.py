"""Texts of others made safe to print."""

import unicodedata

# Control characters; what changes the direction of writing or shows nothing; half characters, which
# also stand for the bytes of file names that are no UTF-8; line ends of other kinds.
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Joiners are part of words in several scripts, and of emoji.
_SAFE = frozenset("\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}")


def printable(text: str, most: int | None = None) -> str:
    r"""Returns a text that is one line and moves no cursor: "\n", "\x1b" and so on are spelled out.

    Args:
      text: A label, a text, a file name, or a sentence that holds some.
      most: The most characters; a longer text ends in three dots.
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
        return character  # Blanks of other kinds, and characters newer than this Python.
    if "\udc00" <= character <= "\udcff":  # A byte that was no UTF-8.
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
