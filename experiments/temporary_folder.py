"""A private folder for a program's temporary files, which goes when the program goes.

TensorFlow writes a file for each function that it converts, and removes them only when Python ends
by itself. Here they, and everything else that asks for a temporary file, lie in one folder; what a
killed program left is removed by the next one.
"""

import atexit
import fcntl
import os
import pathlib
import shutil
import tempfile

from experiments import signals

PREFIX = "tff_nlp-"
# No other folder holds a file of this name, so that nobody's own folder is taken for a leftover:
# a run in /tmp/tff_nlp-reviews has a lock, too.
_LOCK = ".tff_nlp-temporary"

_shared: list[pathlib.Path] = []


def shared() -> pathlib.Path:
    """Returns the system's folder for temporary files, for those that outlast the program."""
    return _shared[0] if _shared else pathlib.Path(tempfile.gettempdir())


def open_private() -> pathlib.Path:
    """Makes the folder, has Python and child processes use it, and removes it with the program.

    Raises:
      OSError: If there is no place for temporary files.
    """
    base = pathlib.Path(tempfile.gettempdir())
    _remove_leftovers(base)
    # Nobody may take it for a leftover before it is locked, so it has its name only then.
    fresh = pathlib.Path(tempfile.mkdtemp(prefix=f".{PREFIX}"))
    lock = os.open(fresh / _LOCK, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    folder = fresh.rename(base / fresh.name.removeprefix("."))
    _shared.append(base)
    # Ray's own folder is where `ray start` looks for it, and paths of its sockets must be short.
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
    """Removes the folders whose programs have died: nobody holds their locks."""
    for folder in base.glob(f"{PREFIX}*"):
        try:
            lock = os.open(folder / _LOCK, os.O_WRONLY | os.O_NOFOLLOW)
        except OSError:
            continue  # Another user's, or none of ours.
        try:
            if os.fstat(lock).st_uid == os.getuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass  # The program runs.
        finally:
            os.close(lock)
