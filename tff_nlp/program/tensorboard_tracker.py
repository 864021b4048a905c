"""TensorBoard events of a run: the curves of metrics.csv."""

import pathlib
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tff_nlp.program import trackers


class TensorBoard:
    """A `trackers.Tracker` that writes TensorBoard events. Events of an earlier start are removed.

    TensorBoard shows curves only, so it receives no result.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        """Removes old events and begins a new file.

        Args:
          folder: Folder of the events.
        """
        for old in folder.glob("events.out.*"):
            old.unlink()
        self._writer = tf.summary.create_file_writer(str(folder))

    def add(self, row: Mapping[str, float]) -> None:
        """Writes a round, see `trackers.Tracker`."""
        with self._writer.as_default(step=trackers.step(row)):
            for name, value in trackers.metrics(row).items():
                tf.summary.scalar(name, value)
        self._writer.flush()

    def finish(self, result: Mapping[str, Any]) -> None:
        """Does nothing: the events have no place for a result."""

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()
