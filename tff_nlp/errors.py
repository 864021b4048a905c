"""The errors of the package: mistakes of the user, and failures of a run."""


class UserError(ValueError):
    """A mistake in flags, files or data. The message is one line that names the flag, file or row.

    Scripts print the message and exit with code 2.
    """


class RunError(RuntimeError):
    """A failure during a run, for example if training diverges or a client fails.

    Scripts print the message and exit with code 1. Everything that was saved before stays. All
    exceptions other than UserError and RunError are programming errors and keep their stack trace.
    """


class WriteError(RunError):
    """A file could not be written, for example because the disk is full.

    The same command can resume the run later.
    """
