"""Writes files completely or not at all, readable only by the owner, and never through links."""

import contextlib
import errno
import os
import pathlib
from collections.abc import Iterator
from typing import IO

from tff_nlp import errors

PRIVATE_FOLDER = 0o700
# Error numbers of failures of the machine, which no flag can avoid.
_FAILURES = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EMFILE, errno.ENFILE)
_PRIVATE_FILE, _ANY_FILE = 0o600, 0o666  # The umask reduces the latter.


def is_failure(error: OSError) -> bool:
    """Whether an error is a failure of the machine, such as a full disk, and not a wrong flag."""
    return error.errno in _FAILURES


@contextlib.contextmanager
def writing(path: pathlib.Path) -> Iterator[None]:
    """Converts an OSError in the block, such as a full disk, to a WriteError.

    Args:
      path: The file that the block writes, for the message.

    Raises:
      WriteError: If the block raises an OSError.
    """
    try:
        yield
    except OSError as error:
        raise errors.WriteError(
            f"{errors.verbatim(path)}: cannot be written ({error.strerror or error})"
        ) from error


@contextlib.contextmanager
def replacing(path: pathlib.Path, *, private: bool = True) -> Iterator[IO[bytes]]:
    """Yields a new file. When the block ends without an error, it replaces `path` in one step.

    A link at `path` is replaced, not followed.

    Args:
      path: The file to replace.
      private: Whether only the owner may read the file.

    Raises:
      WriteError: If the file cannot be written.
    """
    temporary = path.with_name(f"{path.name}.partial")
    with writing(path):
        temporary.unlink(missing_ok=True)  # Left by a killed program, or somebody's link.
        mode = _PRIVATE_FILE if private else _ANY_FILE
        with _opened(temporary, os.O_EXCL, mode) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)


def replace_text(path: pathlib.Path, text: str, *, private: bool = True) -> None:
    """Writes a UTF-8 file. The other arguments and the errors are those of `replacing`."""
    with replacing(path, private=private) as file:
        file.write(text.encode())


def append_text(path: pathlib.Path, text: str) -> None:
    """Appends to a private UTF-8 file and waits until the text is on disk.

    Raises:
      WriteError: If the file cannot be written, or is a link.
    """
    with writing(path), _opened(path, os.O_APPEND, _PRIVATE_FILE) as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def whole_lines(path: pathlib.Path) -> list[str]:
    """Returns the lines of a file of `append_text`; none if there is no file.

    A kill or a power cut may have left a last line without its end. `append_text` had not returned
    for it, so nothing has happened that depends on it. It is removed from the file.

    Args:
      path: The file.

    Raises:
      ValueError: If the file is not UTF-8.
      WriteError: If the half line cannot be removed.
    """
    if not path.exists():
        return []
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    lines = content[:end].decode().split("\n")[:-1]
    if end < len(content):
        with writing(path):
            os.truncate(path, end)
    return lines


def _opened(path: pathlib.Path, how: int, mode: int) -> IO[bytes]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | how
    return os.fdopen(os.open(path, flags, mode), "wb")
