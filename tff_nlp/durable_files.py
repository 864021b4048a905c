"""Files that appear whole or not at all, that their owner alone reads, and never through a link."""

import contextlib
import errno
import os
import pathlib
from collections.abc import Iterator
from typing import IO

from tff_nlp import errors

PRIVATE_FOLDER = 0o700
# What the system says when it, and nobody's flags, is why something cannot be written or read.
_FAILURES = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EMFILE, errno.ENFILE)
_PRIVATE_FILE, _ANY_FILE = 0o600, 0o666  # The latter less what the user's umask takes away.


def is_failure(error: OSError) -> bool:
    """Returns whether the machine failed, as a full disk does, and no flag is wrong."""
    return error.errno in _FAILURES


@contextlib.contextmanager
def writing(path: pathlib.Path) -> Iterator[None]:
    """Turns a failure to write, such as a full disk, into one line.

    Raises:
      WriteError: If the system refuses.
    """
    try:
        yield
    except OSError as error:
        raise errors.WriteError(f"{path}: cannot be written ({error.strerror or error})") from error


@contextlib.contextmanager
def replacing(path: pathlib.Path, *, private: bool = True) -> Iterator[IO[bytes]]:
    """Yields a new file that takes the place of `path`, in one step, when the block ends well.

    A link at `path` is replaced, not followed.

    Args:
      path: The file.
      private: Whether only its owner may read it.

    Raises:
      WriteError: If it cannot be written.
    """
    temporary = path.with_name(f"{path.name}.partial")
    with writing(path):
        temporary.unlink(missing_ok=True)  # What a killed program left, or somebody's link.
        mode = _PRIVATE_FILE if private else _ANY_FILE
        with _opened(temporary, os.O_EXCL, mode) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)


def replace_text(path: pathlib.Path, text: str, *, private: bool = True) -> None:
    """Writes a UTF-8 file (arguments and errors as for `replacing`)."""
    with replacing(path, private=private) as file:
        file.write(text.encode())


def append_text(path: pathlib.Path, text: str) -> None:
    """Adds to the end of a private UTF-8 file and waits until it is on disk.

    Raises:
      WriteError: If it cannot be written, or is a link.
    """
    with writing(path), _opened(path, os.O_APPEND, _PRIVATE_FILE) as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def _opened(path: pathlib.Path, how: int, mode: int) -> IO[bytes]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | how
    return os.fdopen(os.open(path, flags, mode), "wb")
