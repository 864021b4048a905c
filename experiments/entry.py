"""How every script starts and ends: flags in, one line on a user's mistake, an exit code."""

import contextlib
import io
import os
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import flags

from tff_nlp.errors import RunError, UserError
from tff_nlp.printable import printable

SUCCESS, RUN_ERROR, USER_ERROR, INTERRUPTED = 0, 1, 2, 130
# As a shell has it for a program that writes to a pipe nobody reads any more.
NO_READER = 141


def _define_help(flag_values: flags.FlagValues) -> None:
    if "help" not in flag_values:
        flags.DEFINE_boolean(
            "help", False, "Show this help.", short_name="h", flag_values=flag_values
        )


def _help(flag_values: flags.FlagValues) -> str:
    """Returns the script's docstring and its flags, absl's own left out."""
    by_module = flag_values.flags_by_module_dict()
    own = [module for module in by_module if not module.startswith("absl")]
    text = "\n".join(flag_values.module_help(module) for module in own)
    return f"{(sys.modules['__main__'].__doc__ or '').strip()}\n\n{text}"


def _fail(program: str, error: Exception, code: int) -> int:
    # One line, whatever the message holds.
    print(f"{program}: {printable(' '.join(str(error).split()))}", file=sys.stderr)
    return code


def _drop_output() -> None:
    """Sends what is left of the output nowhere, so that Python's end does not complain."""
    with contextlib.suppress(OSError), pathlib.Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def status(
    main: Callable[..., None],
    flag_values: flags.FlagValues,
    arguments: Sequence[str],
    *,
    takes_arguments: bool = False,
) -> int:
    """Parses flags, runs a script's main function, and returns its exit code.

    Args:
      main: Reads the flags and does the work.
      flag_values: The flags to parse into.
      arguments: The command line, the program's name first.
      takes_arguments: Whether `main` takes the list of what is left of the command line; otherwise
        nothing may be left.

    Returns:
      0; or, told in one line on stderr, 2 after a mistake in flags, files or data (`UserError`)
      and 1 after a failure of the run (`RunError`); or 130 when the user interrupts; or, without a
      word, 141 when the reader of the output goes away, as `head` does. Other exceptions are
      defects and pass.
    """
    program = pathlib.Path(arguments[0]).name
    _define_help(flag_values)
    try:
        rest = flag_values(list(arguments))
        if flag_values["help"].value:
            print(_help(flag_values))
            return SUCCESS
        if takes_arguments:
            main(rest[1:])
        elif len(rest) > 1:
            raise UserError(f"unexpected argument {rest[1]!r}: flags start with --")
        else:
            main()
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        return NO_READER
    except (flags.Error, UserError) as error:
        return _fail(program, error, USER_ERROR)
    except RunError as error:
        return _fail(program, error, RUN_ERROR)
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return INTERRUPTED
    return SUCCESS


def run(
    main: Callable[..., None],
    flag_values: flags.FlagValues = flags.FLAGS,
    *,
    takes_arguments: bool = False,
) -> NoReturn:
    """Runs a script with the process's command line and exits (see `status`).

    Args:
      main: Reads the flags and does the work.
      flag_values: The flags to parse into; absl's by default.
      takes_arguments: As for `status`.
    """
    for stream in (sys.stdout, sys.stderr):
        # What the terminal's encoding lacks is spelled out.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.exit(status(main, flag_values, sys.argv, takes_arguments=takes_arguments))
