"""The errors of the package, and how their messages name arguments.

A message marks the name of an argument with backticks, as in "`max_tokens`=5: must be 3 or more".
Python shows it as "max_tokens=5: ..." and a script as "--max_tokens=5: ...". This also holds for
the lines that a run prints. Files of a run always name flags, because scripts read and repeat runs.

A value follows the mark, so that it cannot break it. A backtick in a text of the user or of a
library is doubled: `setting`, `verbatim` and `message` do this.
"""

import re

# A doubled backtick, which stands for one of a user's text, or a marked name.
_MARK = re.compile(r"``|`([A-Za-z_][A-Za-z0-9_]*)`")


def setting(name: str, value: object) -> str:
    """Returns an argument with its value, as marked text: "`max_tokens`=5"."""
    return f"`{name}`={verbatim(value)}"


def verbatim(value: object) -> str:
    """Returns a text as a part of a marked text, such that it is shown as it is."""
    return str(value).replace("`", "``")


def message(error: BaseException) -> str:
    """Returns the message of any error as a part of a marked text."""
    return error.marked if isinstance(error, _MarkedError) else verbatim(error)


def without_marks(marked: str) -> str:
    """Returns a marked text with the names of arguments as they are in Python."""
    return _MARK.sub(lambda found: found[1] or "`", marked)


def with_flags(marked: str) -> str:
    """Returns a marked text with each name of an argument as a flag of the scripts."""
    return _MARK.sub(lambda found: f"--{found[1]}" if found[1] else "`", marked)


class _MarkedError(Exception):
    """An error with a marked text as its message. `str` returns the text without marks."""

    @property
    def marked(self) -> str:
        """The message as marked text."""
        return " ".join(map(str, self.args))

    def __str__(self) -> str:
        return without_marks(self.marked)

    def with_flags(self) -> str:
        """Returns the message with each name of an argument as a flag of the scripts."""
        return with_flags(self.marked)


class UserError(_MarkedError, ValueError):
    """A mistake in arguments, files or data. The message is one line that names the place.

    Scripts print the message and exit with code 2.
    """


class RunError(_MarkedError, RuntimeError):
    """A failure during a run, for example if training diverges or a client fails.

    Scripts print the message and exit with code 1. Everything that was saved before stays. All
    exceptions other than UserError and RunError are programming errors and keep their stack trace.
    """


class DivergedError(RunError):
    """Training produced numbers that are not finite."""


class PrunedError(RunError):
    """A search ended a training early, because others are better."""


class WriteError(RunError):
    """A file could not be written, for example because the disk is full.

    The same command can resume the run later.
    """
