"""How Ctrl-C, SIGTERM and SIGHUP end a script: one line, and 128 plus the signal as exit code."""

import contextlib
import os
import signal
import sys
import types
from collections.abc import Callable

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """A signal asks the program to end.

    Attributes:
      number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def code(number: int) -> int:
    """Returns the exit code of a program that a signal ended, as shells have it."""
    return 128 + number


def line(program: str, number: int) -> str:
    """Returns what ended a program, for people."""
    if number == signal.SIGINT:
        return f"{program}: interrupted"
    return f"{program}: ended by {signal.Signals(number).name}"


def end_at_once() -> None:
    """From here on a signal ends the program at once: nothing has begun, or all is done."""
    _install(_end)


def raise_stopped() -> None:
    """From here on a signal raises `Stopped` in the main thread; a second one ends at once."""
    _install(_raise)


def _install(handler: Callable[[int, types.FrameType | None], None]) -> None:
    for number in _SIGNALS:
        # nohup, and shells that start a program in the background, have signals ignored.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def _end(number: int, frame: types.FrameType | None) -> None:
    words = line(os.path.basename(sys.argv[0]), number)  # noqa: PTH119 (nothing is imported yet)
    with contextlib.suppress(OSError):  # The terminal may be gone.
        os.write(2, f"{words}\n".encode())
    os._exit(code(number))


def _raise(number: int, frame: types.FrameType | None) -> None:
    _install(_leave)
    raise Stopped(number)


def _leave(number: int, frame: types.FrameType | None) -> None:
    os._exit(code(number))
