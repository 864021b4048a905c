"""How training shows where it is: a bar on a terminal, a line now and then in a file."""

import sys
import time
import types
from typing import TextIO

import tqdm

# Seconds between two lines where there is no terminal; evaluations are always told.
_QUIET = 60.0


class Progress:
    """Shows the rounds (or parts of epochs) that are done; use it in a `with` statement."""

    def __init__(
        self, total: int, done: int, unit: str = "round", stream: TextIO | None = None
    ) -> None:
        """Shows the beginning.

        Args:
          total: Rounds in all.
          done: Rounds done by an earlier run of the program.
          unit: What a round is called.
          stream: Where to; by default standard error.
        """
        self._total, self._start, self._done, self._unit = total, done, done, unit
        self._stream = stream or sys.stderr
        self._began = self._told = time.monotonic()
        self._kept: dict[str, str] = {}
        self._bar = None
        if self._stream.isatty():
            self._bar = tqdm.tqdm(
                total=total, initial=done, unit=unit, desc="training", file=self._stream
            )

    def advance(self, values: dict[str, float], kept: dict[str, float] | None = None) -> None:
        """Notes one more round.

        Args:
          values: The round's numbers, by the name to show.
          kept: Numbers that stay until there are new ones, such as scores.
        """
        self._done += 1
        self._kept |= {name: f"{value:.3f}" for name, value in (kept or {}).items()}
        shown = {name: f"{value:.3f}" for name, value in values.items()} | self._kept
        if self._bar is not None:
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update()
            return
        now = time.monotonic()
        if kept or self._done == self._total or now - self._told >= _QUIET:
            self._told = now
            numbers = ", ".join(f"{name} {value}" for name, value in shown.items())
            self.say(f"{self._unit} {self._done}/{self._total}: {numbers}, {self._left(now)}")

    def say(self, line: str) -> None:
        """Writes a line of its own."""
        if self._bar is not None:
            self._bar.write(line, file=self._stream)
        else:
            print(line, file=self._stream, flush=True)

    def _left(self, now: float) -> str:
        each = (now - self._began) / (self._done - self._start)
        minutes, seconds = divmod(round(each * (self._total - self._done)), 60)
        return f"{minutes}:{seconds:02d} min left"

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
