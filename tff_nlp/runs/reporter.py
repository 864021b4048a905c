"""Prints the messages of a run. All messages go through this file."""

import contextlib
from collections.abc import Iterator, Sequence

from tff_nlp import errors
from tff_nlp.printable import printable

_spell = errors.without_marks


@contextlib.contextmanager
def naming_flags() -> Iterator[None]:
    """Makes `say` name arguments as flags, for a script."""
    global _spell
    before, _spell = _spell, errors.with_flags
    try:
        yield
    finally:
        _spell = before


def say(subject: str, lines: Sequence[str]) -> None:
    """Prints lines immediately, with their subject before them.

    Args:
      subject: One word, at most nine letters.
      lines: The lines, as marked texts (`errors`). Characters that control a terminal are escaped.
    """
    for line in lines:
        print(f"{subject:9} {printable(_spell(line))}", flush=True)


def spelled(marked: str) -> str:
    """Returns a marked text as `say` prints it: with the names of arguments or of flags."""
    return _spell(marked)


def show(lines: Sequence[str]) -> None:
    """Prints lines unchanged and immediately."""
    print("\n".join(lines), flush=True)
