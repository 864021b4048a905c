"""Expands and checks the paths of all flags in the same way.

A leading ~ means the home directory, also in each part of a list. Names that no file can have are
refused before any work.
"""

import errno
import os
import pathlib
import pwd

from tff_nlp.runs import checks, user_folders

# The limit of Linux's file systems. A folder that does not exist cannot be asked for its limit.
_LONGEST_NAME = 255  # Bytes.


def expand(flag: str, value: str) -> str:
    """Returns the value of a flag that names one file or folder, or several separated by commas.

    Args:
      flag: Name of the flag, for messages.
      value: Value of the flag. An empty value stays empty.

    Raises:
      UserError: If a ~ cannot be expanded because there is no home directory, or if a file cannot
        have such a name.
    """
    if value and not value.strip(", \t"):
        checks.refuse(flag, value, "names nothing")
    expanded = ",".join(_expand_one(flag, part) for part in value.split(","))
    for part in expanded.split(","):
        _check_name(flag, part)
    return expanded


def of_flag(flag: str, value: str) -> pathlib.Path:
    """Returns the only path that a flag names. The arguments and errors are those of `expand`."""
    path = _expand_one(flag, value)
    _check_name(flag, path)
    return pathlib.Path(path)


def _expand_one(flag: str, value: str) -> str:
    if not value.startswith("~"):
        return value
    name, slash, rest = value.partition("/")
    if name == "~":
        user = user_folders.home()
        if user is None:
            checks.refuse(flag, value, user_folders.no_home())
        return f"{user}{slash}{rest}"
    try:
        return f"{pwd.getpwnam(name[1:]).pw_dir}{slash}{rest}"
    except (KeyError, UnicodeEncodeError, ValueError):
        # A name of a file in the working directory may begin with ~, such as an editor's backup.
        return value


def _check_name(flag: str, path: str) -> None:
    checks.encodable(flag, path)
    if any(len(part.encode()) > _LONGEST_NAME for part in pathlib.PurePath(path).parts):
        checks.refuse(flag, path, os.strerror(errno.ENAMETOOLONG))
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass  # The caller decides whether the path must exist.
    except (OSError, ValueError) as error:  # ValueError: a null character.
        checks.refuse(flag, path, getattr(error, "strerror", None) or str(error))
