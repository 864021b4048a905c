"""The folder that receives a run: one run, one configuration."""

import fcntl
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from tff_nlp import errors

CONFIG = "config.json"
RESULT = "result.json"


class RunDirectory:
    """A run's folder, locked while the run goes on."""

    def __init__(self, path: pathlib.Path, config: Mapping[str, Any]) -> None:
        """Opens a folder for a run; a new one is made.

        Args:
          path: The folder.
          config: The resolved configuration: flag names to JSON values.

        Raises:
          UserError: If the folder cannot be written, is in use, holds a run of another
            configuration, or holds something else.
        """
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = (path / ".lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise errors.UserError(f"--output_dir={path}: another run is using it") from error
        except OSError as error:
            raise errors.UserError(
                f"--output_dir={path}: cannot be written ({error.strerror})"
            ) from error
        existing = path / CONFIG
        if existing.exists():
            _check_same(path, _read_config(existing), config)
        else:
            foreign = sorted(p.name for p in path.iterdir() if p.name != ".lock")
            if foreign:
                raise errors.UserError(
                    f"--output_dir={path}: holds {foreign[0]} but no {CONFIG}; nothing is "
                    "overwritten, use a new folder"
                )
            write_json(existing, config)
        self.checkpoints.mkdir(exist_ok=True)

    @property
    def checkpoints(self) -> pathlib.Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    def result(self) -> dict[str, Any] | None:
        """Returns the result if the run is finished."""
        path = self.path / RESULT
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def save_result(self, result: Mapping[str, Any]) -> None:
        """Writes result.json; it marks the run as finished, so write everything else before."""
        write_json(self.path / RESULT, result)


def write_json(path: pathlib.Path, value: Mapping[str, Any]) -> None:
    """Writes JSON that is there as a whole or not at all."""
    temporary = path.with_suffix(".partial")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


def _read_config(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise errors.UserError(f"--output_dir: {path} cannot be read ({error})") from error


def _check_same(path: pathlib.Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    new = json.loads(json.dumps(new))  # as it would be read back: tuples are lists
    for name in sorted(set(old) | set(new)):
        if old.get(name) != new.get(name):
            raise errors.UserError(
                f"--output_dir={path}: holds a run with --{name}={old.get(name)}, not "
                f"{new.get(name)}; use another folder or the same flags"
            )
