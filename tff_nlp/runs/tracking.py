"""Opens the trackers of a run, and gives them what they may have of it."""

import contextlib
import pathlib
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tff_nlp import durable_files, errors
from tff_nlp.program import run_directory, trackers
from tff_nlp.runs import configs, tracked_values

_ID = "id"


@contextlib.contextmanager
def opened(
    tracking: configs.TrackingConfig,
    directory: run_directory.RunDirectory,
    config: Mapping[str, Any],
    *,
    private: bool = False,
) -> Iterator[Sequence[trackers.Tracker]]:
    """Yields the trackers of a run, and closes them at the end of the block.

    Args:
      tracking: The configuration.
      directory: Directory of the run, which has begun.
      config: The recorded configuration of the run.
      private: Whether the run has differential privacy.

    Raises:
      RunError: If a tracker cannot be opened.
      WriteError: If the folder of the trackers cannot be written.
    """
    with contextlib.ExitStack() as stack:
        found = []
        for name in tracking.names():
            tracker = _Allowed(name, directory.path, config, private=private)
            stack.callback(tracker.close)
            found.append(tracker)
        yield tuple(found)


class _Allowed:
    """A `trackers.Tracker` that passes on what `tracked_values` allows, and explains failures."""

    def __init__(
        self, name: str, folder: pathlib.Path, config: Mapping[str, Any], *, private: bool
    ) -> None:
        self._name, self._private = name, private
        own = folder / run_directory.TRACKING
        with durable_files.writing(own):
            own.mkdir(durable_files.PRIVATE_FOLDER, exist_ok=True)
        identity = _identity(own)
        known = tracked_values.of_config(config, private=private)
        shown = tracked_values.name_of(folder.resolve().name, identity, private=private)
        with _explained(name):
            self._tracker = _kind(name)(own, shown, identity, known)

    def add(self, row: Mapping[str, float]) -> None:
        with _explained(self._name):
            self._tracker.add(tracked_values.of_row(row, private=self._private))

    def finish(self, result: Mapping[str, Any]) -> None:
        with _explained(self._name):
            self._tracker.finish(tracked_values.of_result(result, private=self._private))

    def close(self) -> None:
        # After a failure of the run, only that failure is reported.
        with contextlib.suppress(Exception):
            self._tracker.close()


def _kind(name: str) -> Any:
    """Returns the class of a tracker. The packages are extras, and slow to import."""
    if name == "mlflow":
        from tff_nlp.program import mlflow_tracker

        return mlflow_tracker.Mlflow
    from tff_nlp.program import wandb_tracker

    return wandb_tracker.Wandb


def _identity(folder: pathlib.Path) -> str:
    """Returns the id by which trackers know a run's folder. The first start makes it."""
    path = folder / _ID
    found = path.read_text(encoding="utf-8").strip() if path.is_file() else ""
    if re.fullmatch(r"[0-9a-f]{32}", found):
        return found
    made = uuid.uuid4().hex
    durable_files.replace_text(path, f"{made}\n")
    return made


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Converts any error of a tracker's package to a RunError of one line."""
    try:
        yield
    except Exception as error:  # Each package has many kinds of errors.
        line = " ".join(str(error).split()) or type(error).__name__
        raise errors.RunError(
            f"{errors.setting('trackers', name)}: {errors.verbatim(line)}; without it, the same "
            "command goes on from the last checkpoint"
        ) from error
