"""The error that a user can mend."""


class UserError(ValueError):
    """A mistake in flags, files or data, told in one line that names the flag, file or row.

    Scripts print the message and exit with code 2; every other exception is a defect and keeps
    its stack trace.
    """


class RunError(RuntimeError):
    """A failure while a run goes on that is nobody's defect: training diverged, a client failed.

    Scripts print the message and exit with code 1; what was saved before stays.
    """


class WriteError(RunError):
    """Something could not be written, as when a disk is full; the same command may go on later."""
