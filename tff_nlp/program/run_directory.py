"""The folder that receives a run: one run, one configuration."""

import contextlib
import fcntl
import json
import os
import pathlib
import types
from collections.abc import Collection, Iterator, Mapping
from typing import IO, Any

from tff_nlp import errors

CONFIG = "config.json"
RESULT = "result.json"
_LOCK = ".lock"


class RunDirectory:
    """A run's folder, locked from its opening until `close`; use it in a `with` statement.

    Attributes:
      path: The folder.
    """

    def __init__(
        self, path: pathlib.Path, config: Mapping[str, Any], *, late: Collection[str] = ()
    ) -> None:
        """Opens a folder for a run; nothing in it changes before `begin`.

        Args:
          path: The folder; made if it is missing, and removed by `close` if nothing began in it.
          config: The resolved configuration: flag names to JSON values.
          late: Names of the configuration whose values `begin` gives.

        Raises:
          UserError: If the folder cannot be written, is in use, holds a run of another
            configuration, or holds something else.
        """
        self.path = path
        self._config = {name: value for name, value in config.items() if name not in late}
        self._late = set(late)
        self._check_content()
        self._lock = _locked(path)
        try:
            self._check_content()  # Another run may have come between.
        except errors.UserError:
            self.close()
            raise

    def begin(self, **late: Any) -> None:
        """Writes the configuration, or compares it with that of the run to go on with.

        Args:
          **late: The values of the names given as `late`.

        Raises:
          UserError: If the folder holds a run of another configuration.
        """
        if set(late) != self._late:
            raise ValueError(f"expected values of {sorted(self._late)}, found {sorted(late)}")
        self._config.update(late)
        self._late = set()
        self._check_content()
        if not (self.path / CONFIG).exists():
            write_json(self.path / CONFIG, self._config)
        with writing(self.checkpoints):
            self.checkpoints.mkdir(exist_ok=True)

    @property
    def checkpoints(self) -> pathlib.Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    def result(self) -> dict[str, Any] | None:
        """Returns the result if the run is finished."""
        path = self.path / RESULT
        return _read_json(path) if path.exists() else None

    def save_result(self, result: Mapping[str, Any]) -> None:
        """Writes result.json; it marks the run as finished, so write everything else before."""
        write_json(self.path / RESULT, result)

    def close(self) -> None:
        """Lets others use the folder, and removes it if nothing was written into it."""
        if self._lock.closed:
            return
        if [entry.name for entry in self.path.iterdir()] == [_LOCK]:
            with contextlib.suppress(OSError):
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
        config = self.path / CONFIG
        if config.exists():
            self._check_same(_read_json(config))
            return
        # A kill may have left these two before anything began.
        own = {_LOCK, config.with_suffix(".partial").name}
        foreign = sorted(p.name for p in self.path.iterdir()) if self.path.is_dir() else []
        foreign = [name for name in foreign if name not in own]
        if foreign:
            raise errors.UserError(
                f"--output_dir={self.path}: holds {foreign[0]} but no {CONFIG}; nothing is "
                "overwritten, use a new folder"
            )

    def _check_same(self, old: Mapping[str, Any]) -> None:
        new = json.loads(json.dumps(self._config))  # As it would be read back: tuples are lists.
        old = {name: value for name, value in old.items() if name not in self._late}
        where = f"--output_dir={self.path}"
        strange = sorted(set(old) ^ set(new))
        if strange:
            raise errors.UserError(
                f"{where}: holds a run of another script or version "
                f"({', '.join(f'--{name}' for name in strange[:3])} stand in one of them only); "
                "use another folder"
            )
        different = [name for name in new if old[name] != new[name]]
        # What the flags led to is worth telling only where no flag differs.
        flags = [name for name in different if " " not in name][:3]
        if flags:
            were, are = (" ".join(_flag(n, config[n]) for n in flags) for config in (old, new))
            raise errors.UserError(
                f"{where}: holds a run with {were}, not {are}; use another folder or the same flags"
            )
        if different:
            raise errors.UserError(
                f"{where}: holds a run on other texts: those of --corpus or --test_corpus have "
                "changed since; use another folder"
            )


def write_json(path: pathlib.Path, value: Mapping[str, Any]) -> None:
    """Writes JSON that is there as a whole or not at all.

    Raises:
      RunError: If it cannot be written.
    """
    temporary = path.with_suffix(".partial")
    with writing(path):
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(value, file, indent=2, ensure_ascii=False)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)


@contextlib.contextmanager
def writing(path: pathlib.Path) -> Iterator[None]:
    """Turns a failure to write, such as a full disk, into one line.

    Raises:
      RunError: If the system refuses.
    """
    try:
        yield
    except OSError as error:
        raise errors.RunError(
            f"{path}: cannot be written ({error.strerror or error}); the same command goes on "
            "from the last checkpoint"
        ) from error


def _locked(path: pathlib.Path) -> IO[str]:
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / _LOCK).open("a")  # It may be somebody else's file: never truncated.
    except OSError as error:
        raise errors.UserError(
            f"--output_dir={path}: cannot be written ({error.strerror})"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise errors.UserError(f"--output_dir={path}: another run is using it") from error
    except OSError:
        pass  # Some network file systems have no locks.
    return lock


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise errors.UserError(f"--output_dir: {path} cannot be read ({error})") from error


def _flag(name: str, value: Any) -> str:
    """Returns a flag as the command line has it."""
    if isinstance(value, list):
        value = ",".join(str(part) for part in value)
    if isinstance(value, bool):
        value = str(value).lower()
    return f"--{name}={'' if value is None else value}"
