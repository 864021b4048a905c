"""The folders of a user: the home directory, and the caches that all runs share."""

import os
import pathlib
import pwd

from tff_nlp.runs import checks

# Environment variable with the user's real HOME, for a program that runs with another HOME.
STATED_HOME = "TFF_NLP_STATED_HOME"


def home() -> pathlib.Path | None:
    """Returns the user's home directory; None if there is none."""
    stated = os.environ.get(STATED_HOME, os.environ.get("HOME", ""))
    if not stated:
        try:
            stated = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:  # The user has no entry, which is common in containers.
            return None
    return pathlib.Path(stated) if stated else None


def cache_dir(stated: str = "") -> pathlib.Path:
    """Returns the folder of caches: by default tff_nlp in $XDG_CACHE_HOME or ~/.cache.

    Args:
      stated: Another folder; empty for the default.

    Raises:
      UserError: If there is no default because the user has no home directory.
    """
    if stated:
        return pathlib.Path(stated)
    # The standard of these variables requires that relative paths are ignored.
    base = pathlib.Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        user = home()
        if user is None:
            checks.refuse("cache_dir", "", f"give it, or set XDG_CACHE_HOME: {no_home()}")
        base = user / ".cache"
    return base / "tff_nlp"


def check_writable(flag: str, path: pathlib.Path) -> None:
    """Refuses a folder that cannot be created or written. Creates nothing.

    Args:
      flag: Name of the flag, without dashes.
      path: The folder.

    Raises:
      UserError: If the folder is refused. The message names the flag and the reason.
    """
    existing = path
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir():
        checks.refuse(flag, path, f"cannot be written ({existing} is a file)")
    if not os.access(existing, os.W_OK | os.X_OK):
        checks.refuse(flag, path, f"cannot be written (no permission to write into {existing})")


def no_home() -> str:
    """Returns the reason why there is no home directory, a readable sentence."""
    return f"there is no home directory (HOME is not set, user {os.getuid()} has none)"
