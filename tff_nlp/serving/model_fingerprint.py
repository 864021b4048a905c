"""Checks that an exported model is still the model that its run wrote.

A SavedModel is a program: it can read and write files when it is loaded. So, before a model is
loaded, its fingerprint is compared with the fingerprint in the run's result.json. A model from
another person has no such fingerprint. Load it only if you would run a program from that person.
"""

import hashlib
import json
import pathlib

from tff_nlp.errors import UserError, setting

# This file is beside the model's folder in a run.
_RESULT = "result.json"


def of(folder: pathlib.Path) -> str:
    """Returns a SHA-256 hash (hexadecimal) of the names and contents of all files of a model."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix().encode("utf-8", "surrogateescape")
        digest.update(b"%d:%s%d:" % (len(name), name, path.stat().st_size))
        with path.open("rb") as file:
            for piece in iter(lambda: file.read(1 << 20), b""):
                digest.update(piece)
    return digest.hexdigest()


def stated(folder: pathlib.Path) -> str | None:
    """Returns the fingerprint in the result.json beside a model, or None if there is none."""
    try:
        result = json.loads((folder.parent / _RESULT).read_text(encoding="utf-8"))
        value = result["fingerprints"]["model"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return None if value is None else str(value)


def check(folder: pathlib.Path, flag: str) -> None:
    """Checks that the model in a run's folder is the model that the run wrote.

    Args:
      folder: The model's folder. Without a fingerprint in result.json, the check passes.
      flag: Flag that named the folder, for messages.

    Raises:
      UserError: If the model has changed.
    """
    if stated(folder) not in (None, of(folder)):
        raise UserError(
            f"{setting(flag, folder)}: not the model that {_RESULT} beside it describes: it has "
            "changed since, and loading it could run what somebody else has put there; repeat the "
            "run's command, or move the model elsewhere if you trust it"
        )
