"""Ends a script after Ctrl-C, SIGTERM or SIGHUP: prints a line, exits with 128 plus the signal."""

import contextlib
import os
import signal
import sys
import types
from collections.abc import Callable

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Functions to call before the program ends at once, because Python then skips its own clean-up.
_clean_ups: list[Callable[[], None]] = []
_received: list[int] = []


class Stopped(KeyboardInterrupt):
    """Raised when a signal asks the program to end.

    Attributes:
      number: Number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def code(number: int) -> int:
    """Returns the exit code of a program that a signal ended, as in shells."""
    return 128 + number


def line(program: str, number: int) -> str:
    """Returns a line about the signal that ended a program."""
    if number == signal.SIGINT:
        return f"{program}: interrupted"
    return f"{program}: ended by {signal.Signals(number).name}"


def received() -> int | None:
    """Returns the first signal that asked the program to end, or None."""
    return _received[0] if _received else None


def clean_up_with(function: Callable[[], None]) -> None:
    """Registers a function to call before a signal ends the program at once."""
    _clean_ups.append(function)


def end_at_once() -> None:
    """Makes signals end the program at once. For times when no work has begun, or all is done."""
    _install(_end)


def raise_stopped() -> None:
    """Makes a signal raise `Stopped` in the main thread. A second one ends the program at once."""
    _install(_raise)
    sys.unraisablehook = _raise_again


def _install(handler: Callable[[int, types.FrameType | None], None]) -> None:
    for number in _SIGNALS:
        # nohup ignores signals, and so do shells that start a program in the background.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def _end(number: int, frame: types.FrameType | None) -> None:
    words = line(os.path.basename(sys.argv[0]), number)  # noqa: PTH119 (nothing is imported yet)
    with contextlib.suppress(OSError):  # The terminal may be gone.
        os.write(2, f"{words}\n".encode())
    _leave(number, frame)


def _leave(number: int, frame: types.FrameType | None) -> None:
    for clean_up in _clean_ups:
        clean_up()
    os._exit(code(number))


def _raise(number: int, frame: types.FrameType | None) -> None:
    _received.append(number)
    _install(_leave)
    raise Stopped(number)


def _raise_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """Sends the signal again if Python dropped the exception, as it does in destructors."""
    stopped = unraisable.exc_value
    if not isinstance(stopped, Stopped):
        sys.__unraisablehook__(unraisable)
        return
    import threading

    _install(_raise)
    later = threading.Timer(0.01, os.kill, (os.getpid(), stopped.number))
    later.daemon = True
    later.start()
