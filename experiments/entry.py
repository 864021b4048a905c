"""How every script starts and ends: flags in, one line on a user's mistake, an exit code."""

import contextlib
import os
import pathlib
import select
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import flags

from experiments import help_text, signals
from tff_nlp import durable_files
from tff_nlp.errors import RunError, UserError, WriteError
from tff_nlp.printable import printable

SUCCESS, RUN_ERROR, USER_ERROR = 0, 1, 2

# Longer words in a message are cut: names and values of thousands of characters.
_LONGEST_WORD = 300


def status(
    main: Callable[..., None],
    flag_values: flags.FlagValues,
    arguments: Sequence[str],
    *,
    groups: Sequence[type] = (),
    takes_arguments: bool = False,
    again: str = "",
) -> int:
    """Parses flags, runs a script's main function, and returns its exit code.

    Args:
      main: Reads the flags and does the work.
      flag_values: The flags to parse into.
      arguments: The command line, the program's name first.
      groups: The groups of flags, in the order in which --help shows them.
      takes_arguments: Whether `main` takes the list of what is left of the command line; otherwise
        nothing may be left.
      again: What the same command does after the work was stopped, as a sentence.

    Returns:
      0; or, with one line on stderr, 2 after a mistake in flags, files or data (`UserError`) and 1
      after a failure of the run (`RunError`) or of the disk; or, when a signal ends the work, 128
      and the signal's number. Other exceptions are defects and pass.
    """
    program = pathlib.Path(arguments[0]).name
    help_text.define(flag_values)
    try:
        rest = _parse(flag_values, arguments)
        if flag_values["help"].value:
            print(help_text.of(sys.modules[main.__module__].__doc__, flag_values, groups))
            return SUCCESS
        if takes_arguments:
            main(rest[1:])
        elif len(rest) > 1:
            raise UserError(f"unexpected argument {rest[1]!r}: flags start with --")
        else:
            main()
    except BaseException as error:
        code = _explain(program, error, again)
        if code is None:
            raise
        return code
    return SUCCESS


def _explain(program: str, error: BaseException, again: str) -> int | None:
    """Prints one line about what ended a script, and returns its code; None of a defect."""
    # Libraries turn the interruption into errors of their own.
    stopped = signals.received()
    if stopped is None and isinstance(error, KeyboardInterrupt):
        stopped = signal.SIGINT
    if stopped is not None:
        return _fail(_joined(signals.line(program, stopped), again), signals.code(stopped))
    if isinstance(error, flags.Error | UserError):
        return _fail(f"{program}: {error}", USER_ERROR)
    if isinstance(error, RunError):
        can_go_on = isinstance(error, WriteError)
        return _fail(_joined(f"{program}: {error}", again if can_go_on else ""), RUN_ERROR)
    if isinstance(error, BrokenPipeError) and _reader_is_gone():
        return signals.code(signal.SIGPIPE)
    if isinstance(error, OSError) and durable_files.is_failure(error):
        return _fail(_joined(f"{program}: {error}", again), RUN_ERROR)
    return None


def run(
    main: Callable[..., None],
    flag_values: flags.FlagValues,
    *,
    groups: Sequence[type] = (),
    takes_arguments: bool = False,
    again: str = "",
) -> NoReturn:
    """Runs a script with the process's command line and exits (arguments as for `status`)."""
    signals.raise_stopped()
    code = status(
        main,
        flag_values,
        sys.argv,
        groups=groups,
        takes_arguments=takes_arguments,
        again=again,
    )
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _reader_is_gone()
        code = code or signals.code(signal.SIGPIPE)
    signals.end_at_once()
    sys.exit(code)


def print_progress(line: str) -> None:
    """Tells a person at a terminal what a script is waiting for; files get none of it."""
    if sys.stderr.isatty():
        print(line, file=sys.stderr, flush=True)


def _parse(flag_values: flags.FlagValues, arguments: Sequence[str]) -> list[str]:
    try:
        return flag_values(list(arguments))
    except flags.CantOpenFlagFileError as error:  # absl shouts: "ERROR:: Unable to ..."
        raise UserError(f"--flagfile: {str(error).partition('flagfile: ')[2]}") from error
    except UnicodeDecodeError as error:
        files = [word for word in arguments if word.lstrip("-").startswith("flagfile")]
        raise UserError(f"{' '.join(files)}: a file of flags is not UTF-8 text") from error


def _joined(*parts: str) -> str:
    return "; ".join(filter(None, parts))


def _fail(message: str, code: int) -> int:
    """Prints a message in one line that cannot move a terminal's cursor, and returns the code."""
    words = [
        word if len(word) <= _LONGEST_WORD else f"{word[:200]}…{word[-50:]}"
        for word in message.split()
    ]
    line = printable(" ".join(words))
    with contextlib.suppress(OSError):  # The terminal may be gone; the code says the same.
        print(line, file=sys.stderr, flush=True)
    return code


def _reader_is_gone() -> bool:
    """Returns whether nobody reads the output any more; then nothing more is written to it."""
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError):
        return False
    poll = select.poll()
    poll.register(output, 0)
    gone = any(event & select.POLLERR for _, event in poll.poll(0))
    if gone:
        # Python flushes once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return gone
