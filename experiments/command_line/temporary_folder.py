"""A private folder for a program's temporary files. It is removed when the program ends.

TensorFlow writes a file for each function that it converts, and removes these files only at a
normal end of Python. So all temporary files of a program are in one folder. If a program was
killed, the next program removes its folder.
"""

import atexit
import fcntl
import os
import pathlib
import shutil
import tempfile

from experiments.command_line import signals

PREFIX = "tff_nlp-"
# Only these folders have a file with this name, so that no other folder is removed by mistake. For
# example, a run in /tmp/tff_nlp-reviews also has a lock file, but with another name.
_LOCK = ".tff_nlp-temporary"

_shared: list[pathlib.Path] = []


def shared() -> pathlib.Path:
    """Returns the system's folder for temporary files, for files that must outlive the program."""
    return _shared[0] if _shared else pathlib.Path(tempfile.gettempdir())


def open_private() -> pathlib.Path:
    """Creates the folder for Python and child processes, and removes it when the program ends.

    Raises:
      OSError: If the folder cannot be created.
    """
    base = pathlib.Path(tempfile.gettempdir())
    _remove_leftovers(base)
    # Another program could remove the folder before it is locked, so it is renamed only after that.
    fresh = pathlib.Path(tempfile.mkdtemp(prefix=f".{PREFIX}"))
    lock = os.open(fresh / _LOCK, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    folder = fresh.rename(base / fresh.name.removeprefix("."))
    _shared.append(base)
    # `ray start` expects Ray's folder there, and paths of Ray's sockets must be short.
    os.environ.setdefault("RAY_TMPDIR", str(base))
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    owner = os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # Not in a forked child.
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    signals.clean_up_with(remove)
    return folder


def _remove_leftovers(base: pathlib.Path) -> None:
    """Removes folders of programs that have died, which no process locks any more."""
    for folder in base.glob(f"{PREFIX}*"):
        try:
            lock = os.open(folder / _LOCK, os.O_WRONLY | os.O_NOFOLLOW)
        except OSError:
            continue  # The folder of another user or of another program.
        try:
            if os.fstat(lock).st_uid == os.getuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass  # The program still runs.
        finally:
            os.close(lock)
