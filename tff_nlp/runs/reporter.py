"""Prints the messages of a run. All messages go through this file."""

from collections.abc import Sequence

from tff_nlp.printable import printable


def say(subject: str, lines: Sequence[str]) -> None:
    """Prints lines immediately, with their subject before them.

    Args:
      subject: One word, at most nine letters.
      lines: The lines. Characters that control a terminal are escaped.
    """
    for line in lines:
        print(f"{subject:9} {printable(line)}", flush=True)


def show(lines: Sequence[str]) -> None:
    """Prints lines unchanged and immediately."""
    print("\n".join(lines), flush=True)
