"""One rule for every path that a flag names, and the places that are taken where none is named.

A leading ~ is the home directory, in each part of a list, too. What no file can be called is
refused before any work. Caches are below $XDG_CACHE_HOME, or ~/.cache.
"""

import errno
import os
import pathlib
import pwd

from experiments import checks

# What Linux's file systems take; a folder that is missing cannot be asked.
_LONGEST_NAME = 255  # Bytes.

# In the environment of a program whose HOME is a substitute (see startup.py): what HOME was.
STATED_HOME = "TFF_NLP_STATED_HOME"


def home() -> pathlib.Path | None:
    """Returns the user's home directory; None where the system knows none."""
    stated = os.environ.get(STATED_HOME, os.environ.get("HOME", ""))
    if not stated:
        try:
            stated = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:  # A user without an entry, as containers have.
            return None
    return pathlib.Path(stated) if stated else None


def expand(flag: str, value: str) -> str:
    """Returns the value of a flag that names one file or folder, or several separated by commas.

    Args:
      flag: The flag's name, for messages.
      value: Its value; empty stays empty.

    Raises:
      UserError: If there is no home directory to put for a ~, or a file cannot have such a name.
    """
    if value and not value.strip(", \t"):
        checks.refuse(flag, value, "names nothing")
    expanded = ",".join(_expand_one(flag, part) for part in value.split(","))
    for part in expanded.split(","):
        _check_name(flag, part)
    return expanded


def of_flag(flag: str, value: str) -> pathlib.Path:
    """Returns the path that a flag names (arguments and errors as for `expand`)."""
    path = _expand_one(flag, value)
    _check_name(flag, path)
    return pathlib.Path(path)


def cache_dir(flag: str) -> pathlib.Path:
    """Returns the folder of token caches.

    Args:
      flag: The value of --cache_dir; empty for the user's own cache.

    Raises:
      UserError: If the flag is empty and the user has no home directory.
    """
    if flag:
        return of_flag("cache_dir", flag)
    # The standard of these variables says to pass over relative paths.
    base = pathlib.Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        user = home()
        if user is None:
            checks.refuse("cache_dir", "", f"must be given, or XDG_CACHE_HOME be set: {_no_home()}")
        base = user / ".cache"
    return base / "tff_nlp"


def check_writable(flag: str, path: pathlib.Path) -> None:
    """Refuses a folder that cannot be made, or written to where it is there; changes nothing.

    Raises:
      UserError: Naming the flag and what stands in the way.
    """
    there = path
    while not there.exists():
        there = there.parent
    if not there.is_dir():
        checks.refuse(flag, path, f"cannot be written ({there} is a file)")
    if not os.access(there, os.W_OK | os.X_OK):
        checks.refuse(flag, path, f"cannot be written (no permission to write into {there})")


def _expand_one(flag: str, value: str) -> str:
    if not value.startswith("~"):
        return value
    name, slash, rest = value.partition("/")
    if name == "~":
        user = home()
        if user is None:
            checks.refuse(flag, value, _no_home())
        return f"{user}{slash}{rest}"
    try:
        return f"{pwd.getpwnam(name[1:]).pw_dir}{slash}{rest}"
    except (KeyError, UnicodeEncodeError, ValueError):
        # A file of the working directory may begin with a ~, as editors' backups do.
        return value


def _no_home() -> str:
    return f"there is no home directory (HOME is not set, user {os.getuid()} has none)"


def _check_name(flag: str, path: str) -> None:
    checks.encodable(flag, path)
    if any(len(part.encode()) > _LONGEST_NAME for part in pathlib.PurePath(path).parts):
        checks.refuse(flag, path, os.strerror(errno.ENAMETOOLONG))
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        pass  # Whether it must be there, others know.
    except (OSError, ValueError) as error:  # ValueError: a null character.
        checks.refuse(flag, path, getattr(error, "strerror", None) or str(error))
