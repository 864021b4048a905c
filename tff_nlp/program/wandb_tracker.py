"""A run's record for Weights & Biases. By default it is a file, and nothing is sent anywhere."""

import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

from tff_nlp.program import trackers

# W&B would report its own errors to its makers, even without an account.
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")

import wandb  # noqa: E402 (it reads the variable above)
from wandb.sdk import wandb_setup  # noqa: E402

PROJECT = "tff_nlp"
# W&B's own name of its folder.
FOLDER = "wandb"


class Wandb:
    """A `trackers.Tracker` that writes W&B's offline format: one file per folder of a run.

    The file of an earlier start is removed. The id of the W&B run stays, so W&B replaces an earlier
    upload of it.
    """

    def __init__(
        self, folder: pathlib.Path, name: str, identity: str, config: Mapping[str, Any]
    ) -> None:
        """Begins a W&B run.

        Args:
          folder: Folder in which W&B makes its own, if WANDB_DIR names no other.
          name: Name of the run.
          identity: Id of the run's folder.
          config: The recorded configuration.
        """
        folder = pathlib.Path(os.environ.get("WANDB_DIR") or folder)
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(f"{FOLDER}/*run-*-{identity}"):
            shutil.rmtree(old)
        mode: Any = os.environ.get("WANDB_MODE") or "offline"
        self._run = wandb.init(
            mode=mode,
            dir=str(folder),
            project=os.environ.get("WANDB_PROJECT") or PROJECT,
            id=identity,
            name=name,
            config=dict(config),
            # A program can train several runs, one after the other.
            reinit="create_new",
            settings=_settings(),
        )
        self._ended = False

    def add(self, row: Mapping[str, float]) -> None:
        """Writes a round, see `trackers.Tracker`."""
        self._run.log(trackers.metrics(row), step=trackers.step(row), commit=True)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Writes the result into the summary, see `trackers.Tracker`."""
        self._run.summary.update(dict(trackers.flatten(result)))
        self._end(0)

    def close(self) -> None:
        """Marks the W&B run as failed if it is not finished."""
        if not self._ended:
            self._end(1)

    def _end(self, code: int) -> None:
        self._ended = True
        self._run.finish(exit_code=code)
        # W&B's process may still be writing, and would stop with this program. The teardown waits
        # for it. It would also end other runs that the program has opened.
        if wandb_setup.singleton().most_recent_active_run is None:
            wandb.teardown()


def _settings() -> wandb.Settings:
    """Returns settings without messages, and without facts on the machine, user and code."""
    return wandb.Settings(
        silent=True,
        quiet=True,
        console="off",
        host="",
        disable_git=True,
        save_code=False,
        symlink=False,  # To the latest run.
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
    )
