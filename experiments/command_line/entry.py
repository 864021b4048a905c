"""Starts and ends every script: parses flags, prints an error as one line, sets the exit code."""

import contextlib
import os
import pathlib
import select
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import flags

from experiments.command_line import help_text, signals
from tff_nlp import durable_files
from tff_nlp.errors import RunError, UserError, WriteError, verbatim
from tff_nlp.printable import printable
from tff_nlp.runs import reporter

SUCCESS, RUN_ERROR, USER_ERROR = 0, 1, 2

# Longer words in a message are cut. Some names and values have thousands of characters.
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
      main: Function that reads the flags and does the work.
      flag_values: Flags to parse the command line into.
      arguments: The command line. The first item is the program's name.
      groups: Groups of flags, in the order of --help.
      takes_arguments: Whether `main` takes the list of arguments that are not flags. Otherwise
        there must be none.
      again: Sentence on what the same command does after the script was stopped.

    Returns:
      0 on success. 2 after a mistake in flags, files or data (`UserError`). 1 after a failure of
      the run (`RunError`) or of the disk. 128 plus the signal's number if a signal ends the script.
      All except 0 print one line on stderr. Other exceptions are bugs and are raised.
    """
    program = pathlib.Path(arguments[0]).name
    help_text.define(flag_values)
    try:
        rest = _parse(flag_values, arguments)
        if flag_values["help"].value:
            print(help_text.of(sys.modules[main.__module__].__doc__, flag_values, groups))
            return SUCCESS
        if len(rest) > 1 and not takes_arguments:
            raise UserError(f"unexpected argument {verbatim(repr(rest[1]))}: flags start with --")
        with reporter.naming_flags():
            main(*([rest[1:]] if takes_arguments else []))
    except BaseException as error:
        code = _explain(program, error, again)
        if code is None:
            raise
        return code
    return SUCCESS


def _explain(program: str, error: BaseException, again: str) -> int | None:
    """Prints one line about the error that ended a script. Returns the code, or None for a bug."""
    # Libraries may convert the interruption to other errors.
    stopped = signals.received()
    if stopped is None and isinstance(error, KeyboardInterrupt):
        stopped = signal.SIGINT
    if stopped is not None:
        return _fail(_joined(signals.line(program, stopped), again), signals.code(stopped))
    if isinstance(error, flags.Error | UserError):
        return _fail(f"{program}: {_message(error)}", USER_ERROR)
    if isinstance(error, RunError):
        can_go_on = isinstance(error, WriteError)
        return _fail(
            _joined(f"{program}: {error.with_flags()}", again if can_go_on else ""), RUN_ERROR
        )
    if isinstance(error, BrokenPipeError) and _reader_is_gone():
        return signals.code(signal.SIGPIPE)
    if isinstance(error, OSError) and durable_files.is_failure(error):
        return _fail(_joined(f"{program}: {error}", again), RUN_ERROR)
    return None


def _message(error: flags.Error | UserError) -> str:
    return error.with_flags() if isinstance(error, UserError) else str(error)


def run(
    main: Callable[..., None],
    flag_values: flags.FlagValues,
    *,
    groups: Sequence[type] = (),
    takes_arguments: bool = False,
    again: str = "",
) -> NoReturn:
    """Runs a script with the process's command line, and exits.

    The arguments are those of `status`.
    """
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
    """Prints a line about progress on stderr, but only if stderr is a terminal."""
    if sys.stderr.isatty():
        print(line, file=sys.stderr, flush=True)


def _parse(flag_values: flags.FlagValues, arguments: Sequence[str]) -> list[str]:
    try:
        return flag_values(list(arguments))
    except flags.CantOpenFlagFileError as error:  # Remove absl's prefix "ERROR:: Unable to ...".
        raise UserError(f"--flagfile: {verbatim(error).partition('flagfile: ')[2]}") from error
    except UnicodeDecodeError as error:
        files = [word for word in arguments if word.lstrip("-").startswith("flagfile")]
        raise UserError(
            f"{verbatim(' '.join(files))}: a file of flags is not UTF-8 text"
        ) from error


def _joined(*parts: str) -> str:
    return "; ".join(filter(None, parts))


def _fail(message: str, code: int) -> int:
    """Prints a message as one line without control characters, and returns the code."""
    words = [
        word if len(word) <= _LONGEST_WORD else f"{word[:200]}…{word[-50:]}"
        for word in message.split()
    ]
    line = printable(" ".join(words))
    with contextlib.suppress(OSError):  # The terminal may be gone. The exit code still shows it.
        print(line, file=sys.stderr, flush=True)
    return code


def _reader_is_gone() -> bool:
    """Returns whether the reader of the output has closed it. Then also discards further output."""
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError):
        return False
    poll = select.poll()
    poll.register(output, 0)
    gone = any(event & select.POLLERR for _, event in poll.poll(0))
    if gone:
        # Python flushes the output again when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return gone
