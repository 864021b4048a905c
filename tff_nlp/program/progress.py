"""Shows the progress of training: a bar on a terminal, or a line now and then in a file."""

import sys
import time
import types
from typing import TextIO

import tqdm

# Seconds between two lines without a terminal. Evaluations always get a line.
_SECONDS_BETWEEN_LINES = 60.0


class Progress:
    """Shows the number of completed rounds (or parts of epochs). Use it in a `with` statement."""

    def __init__(
        self,
        total: int,
        done: int,
        unit: str = "round",
        stream: TextIO | None = None,
        *,
        quiet: bool = False,
    ) -> None:
        """Begins to show the progress.

        Args:
          total: Total number of rounds.
          done: Number of rounds that an earlier run of the program completed.
          unit: Word for a round.
          stream: Output stream. The default is standard error.
          quiet: Whether to show messages only, and no progress.
        """
        self._total, self._start, self._done, self._unit = total, done, done, unit
        self._stream, self._quiet = stream or sys.stderr, quiet
        self._began = self._last_line = time.monotonic()
        self._kept: dict[str, str] = {}
        self._bar = None
        if self._stream.isatty() and not quiet:
            self._bar = tqdm.tqdm(
                total=total, initial=done, unit=unit, desc="training", file=self._stream
            )

    def advance(self, values: dict[str, float], kept: dict[str, float] | None = None) -> None:
        """Counts one more round and shows its numbers.

        Args:
          values: Numbers of the round, by the name to show.
          kept: Numbers that are shown until they are replaced, such as scores.
        """
        self._done += 1
        self._kept |= {name: f"{value:.3f}" for name, value in (kept or {}).items()}
        shown = {name: f"{value:.3f}" for name, value in values.items()} | self._kept
        if self._bar is not None:
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update()
            return
        if self._quiet:
            return
        now = time.monotonic()
        if kept or self._done == self._total or now - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = now
            numbers = [*(f"{name} {value}" for name, value in shown.items()), self._left(now)]
            self.say(f"{self._unit} {self._done}/{self._total}: {', '.join(numbers)}")

    def say(self, line: str) -> None:
        """Writes a message on its own line."""
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
