"""The folder of a run. It holds one run with one configuration, and only its owner can read it."""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import types
from collections.abc import Mapping
from typing import IO, Any

from tff_nlp import durable_files, errors
from tff_nlp.program import configuration

CONFIG = "config.json"
REPORT = "report.html"
RESULT = "result.json"
METRICS = "metrics.csv"
PRIVACY = "privacy.jsonl"
ADAPTER, PERSONAL, PREDICTIONS = "adapter.npz", "personal.csv", "test_predictions.csv"
PICTURES = ("clients.png", "curves.png", "personal.png", "clock.png")
CLIENTS, CURVES, PERSONAL_PICTURE, CLOCK = PICTURES
CHECKPOINTS, CLIENT_STATES, TENSORBOARD, TRACKING, MODEL, PRIVATE, ALONE = _FOLDERS = (
    "checkpoints",
    "client_states",
    "tensorboard",
    "tracking",
    "model",
    "private",
    "alone",
)
_FILES = (CONFIG, RESULT, REPORT, METRICS, PRIVACY, ADAPTER, PERSONAL, PREDICTIONS, *PICTURES)
_LOCK = ".lock"


class RunDirectory:
    """The folder of a run, locked until `close`. Use it in a `with` statement.

    Attributes:
      path: The folder.
    """

    def __init__(
        self,
        path: pathlib.Path,
        config: Mapping[str, Any],
        rules: configuration.Rules = configuration.Rules(),  # noqa: B008 (it is frozen)
    ) -> None:
        """Opens a folder for a run. No file of a run changes before `begin`.

        Args:
          path: The folder. It is made if it is missing. `close` removes it if it is still empty.
          config: The resolved configuration: flag name -> JSON value.
          rules: How it may differ from the configuration of the run in the folder.

        Raises:
          UserError: If the folder cannot be written, is in use, holds a run with another
            configuration, or holds anything else.
        """
        self.path = path
        self._config = {name: value for name, value in config.items() if name not in rules.late}
        self._rules = rules
        self._late: dict[str, Any] | None = None if rules.late else {}
        self._check_content()
        self._lock = _locked(path)
        try:
            self._check_content()  # Another run may have begun before the lock was taken.
        except errors.UserError:
            self.close()
            raise

    def begin(self, **late: Any) -> None:
        """Writes the configuration, or compares it with the configuration of the resumed run.

        Args:
          **late: The values of the names in `Rules.late`.

        Raises:
          UserError: If the folder holds a run with another configuration.
          ValueError: If the names are not those in `Rules.late`.
          WriteError: If the folder cannot be written.
        """
        if set(late) != set(self._rules.late):
            raise ValueError(f"expected {sorted(self._rules.late)}, found {sorted(late)}")
        self._late = late
        self._check_content()
        self._write_config({**self._config, **late})
        for folder in (CHECKPOINTS, TENSORBOARD):
            with durable_files.writing(self.path / folder):
                (self.path / folder).mkdir(durable_files.PRIVATE_FOLDER, exist_ok=True)

    @property
    def checkpoints(self) -> pathlib.Path:
        """The folder of checkpoints."""
        return self.path / CHECKPOINTS

    @property
    def identity(self) -> str:
        """A digest of the configuration. It is the same for every command that resumes the run."""
        rules = self._rules
        changing = {*rules.late, *rules.described, *rules.growing}
        fixed = {name: value for name, value in self._config.items() if name not in changing}
        return hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()

    def result(self) -> dict[str, Any] | None:
        """Returns the result if the run is finished, otherwise None.

        A run is not finished if this command asks for more rounds than the result has. For a
        finished run, the paths of its texts in config.json are updated.

        Raises:
          UserError: If result.json is damaged.
        """
        if not (self.path / RESULT).exists():
            return None
        result = _read_json(self.path / RESULT)
        if self._rules.growing:
            reached = result.get("config")
            if not isinstance(reached, dict):
                raise damaged(self.path)
            if any(reached.get(name) != self._config[name] for name in self._rules.growing):
                return None
        self._write_config({**_read_json(self.path / CONFIG), **self._config})
        return result

    def save_result(self, result: Mapping[str, Any]) -> None:
        """Writes result.json, which marks the run as finished. Write all other files before it.

        Raises:
          WriteError: If it cannot be written.
        """
        write_json(self.path / RESULT, result)

    def close(self) -> None:
        """Unlocks the folder, and removes it if no run has begun in it."""
        if self._lock.closed:
            return
        # The folder may be gone. The error that ended the run says so.
        with contextlib.suppress(OSError):
            if [entry.name for entry in self.path.iterdir()] == [_LOCK]:
                (self.path / _LOCK).unlink()
                self.path.rmdir()
        self._lock.close()

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        self.close()

    def _check_content(self) -> None:
        old = check_content(self.path)
        if old is None:
            return
        late = () if self._late is not None else self._rules.late
        old = {name: value for name, value in old.items() if name not in late}
        new = {**self._config, **(self._late or {})}
        configuration.check_same(old, new, self._rules, errors.setting("output_dir", self.path))

    def _write_config(self, config: Mapping[str, Any]) -> None:
        path = self.path / CONFIG
        if not path.exists() or _read_json(path) != json.loads(json.dumps(config)):
            write_json(path, config)


def check_content(path: pathlib.Path) -> dict[str, Any] | None:
    """Checks that a folder is empty or holds a run.

    Args:
      path: The folder. It may be missing.

    Returns:
      The configuration of the run, or None without a run.

    Raises:
      UserError: If the folder holds anything else, or if a part of the run is a link, a file in
        place of a folder, a folder in place of a file, or damaged.
    """
    if not path.is_dir():
        return None
    where = errors.setting("output_dir", path)
    for name in (*_FILES, *_FOLDERS):
        part = path / name
        if part.is_symlink():
            raise errors.UserError(f"{where}: {name} is a link; replace it with its target")
        if part.exists() and part.is_dir() != (name in _FOLDERS):
            found, due = ("folder", "file") if part.is_dir() else ("file", "folder")
            raise errors.UserError(f"{where}: {name} is a {found}, not a {due}; move it away")
    if (path / CONFIG).exists():
        return _read_json(path / CONFIG)
    # A run that was killed before it began may have left these two files.
    own = {_LOCK, f"{CONFIG}.partial"}
    foreign = sorted(entry.name for entry in path.iterdir() if entry.name not in own)
    if foreign:
        raise errors.UserError(
            f"{where}: holds {foreign[0]} but no {CONFIG}; nothing is overwritten, use a new folder"
        )
    return None


def damaged(folder: pathlib.Path) -> errors.UserError:
    """Returns the error for a damaged result.json."""
    return errors.UserError(
        f"`output_dir`: {errors.verbatim(folder / RESULT)} is damaged; delete it and repeat the "
        "command"
    )


def write_json(path: pathlib.Path, value: Mapping[str, Any], *, private: bool = True) -> None:
    """Writes a JSON file. The file is complete or unchanged, also after a crash.

    Args:
      path: The file.
      value: The value to write.
      private: Whether only the owner may read the file.

    Raises:
      WriteError: If the file cannot be written.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False)
    durable_files.replace_text(path, f"{text}\n", private=private)


def _locked(path: pathlib.Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(durable_files.PRIVATE_FOLDER, exist_ok=True)
        # The file may belong to somebody else, so it is not truncated and no link is followed.
        how = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        lock = os.fdopen(os.open(path / _LOCK, how, 0o600), "a")
    except OSError as error:
        raise errors.UserError(
            f"{errors.setting('output_dir', path)}: cannot be written ({error.strerror})"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise errors.UserError(
            f"{errors.setting('output_dir', path)}: another run is using it"
        ) from error
    except OSError:
        pass  # Some network file systems have no locks.
    return lock


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise errors.UserError(
            f"`output_dir`: {errors.verbatim(path)} cannot be read ({errors.verbatim(error)})"
        ) from error
    if not isinstance(value, dict):
        raise errors.UserError(
            f"`output_dir`: {errors.verbatim(path)} cannot be read (it is not a JSON object)"
        )
    return value
