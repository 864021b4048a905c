"""A run's record in MLflow. By default it is a folder of files, and nothing is sent anywhere."""

import json
import os
import pathlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlflow import entities
from mlflow.tracking import MlflowClient

from tff_nlp.program import trackers

FOLDER = "mlflow"
EXPERIMENT = "tff_nlp"
# The tag with the id of the run's folder, by which a resumed run finds its earlier record.
FOLDER_TAG = "tff_nlp.folder"
# MLflow allows no other characters in names, and a slash would make a folder.
_FOREIGN = re.compile(r"[^\w. -]")
_LONGEST_NAME, _LONGEST_TEXT = 250, 5000
# MLflow refuses more parameters or tags in one call.
_AT_ONCE = 100


class Mlflow:
    """A `trackers.Tracker` that writes to MLflow: one MLflow run per folder of a run.

    The MLflow run of an earlier start is deleted, because MLflow cannot replace single values.
    """

    def __init__(
        self, folder: pathlib.Path, name: str, identity: str, config: Mapping[str, Any]
    ) -> None:
        """Begins an MLflow run.

        Args:
          folder: Folder of the store, if MLFLOW_TRACKING_URI names no other.
          name: Name of the run.
          identity: Id of the run's folder.
          config: The recorded configuration. Its values become parameters.
        """
        store = os.environ.get("MLFLOW_TRACKING_URI") or (folder / FOLDER).resolve().as_uri()
        self._client = MlflowClient(tracking_uri=store)
        experiment = _experiment(self._client)
        earlier = f"tags.`{FOLDER_TAG}` = '{identity}'"
        for run in self._client.search_runs([experiment], filter_string=earlier):
            self._client.delete_run(run.info.run_id)
        begun = self._client.create_run(experiment, run_name=name, tags={FOLDER_TAG: identity})
        self._run = begun.info.run_id
        self._step = 0
        self._ended = False
        parameters = [entities.Param(_name(key), _text(value)) for key, value in config.items()]
        for part in _parts(parameters):
            self._client.log_batch(self._run, params=part)

    def add(self, row: Mapping[str, float]) -> None:
        """Writes a round, see `trackers.Tracker`."""
        self._step = trackers.step(row)
        self._log(trackers.metrics(row))

    def finish(self, result: Mapping[str, Any]) -> None:
        """Writes numbers of the result as metrics and texts as tags, see `trackers.Tracker`."""
        found = {_name(name): value for name, value in trackers.flatten(result)}
        texts = {name: value for name, value in found.items() if isinstance(value, str | bool)}
        self._log({name: value for name, value in found.items() if name not in texts})
        tags = [entities.RunTag(name, _text(value)) for name, value in texts.items()]
        for part in _parts(tags):
            self._client.log_batch(self._run, tags=part)
        self._end("FINISHED")

    def close(self) -> None:
        """Marks the MLflow run as failed if it is not finished."""
        if not self._ended:
            self._end("FAILED")

    def _log(self, values: Mapping[str, Any]) -> None:
        now = int(time.time() * 1000)
        found = [entities.Metric(n, float(value), now, self._step) for n, value in values.items()]
        for part in _parts(found):
            self._client.log_batch(self._run, metrics=part)

    def _end(self, status: str) -> None:
        self._client.set_terminated(self._run, status)
        self._ended = True


def _experiment(client: MlflowClient) -> str:
    """Returns the id of the experiment of all runs. It is made if it is missing."""
    found = client.get_experiment_by_name(EXPERIMENT)
    return client.create_experiment(EXPERIMENT) if found is None else found.experiment_id


def _name(name: str) -> str:
    return _FOREIGN.sub("_", name)[:_LONGEST_NAME]


def _text(value: Any) -> str:
    """Returns a value as text: texts as they are, all others as JSON."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text[:_LONGEST_TEXT]


def _parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for first in range(0, len(values), _AT_ONCE):
        yield values[first : first + _AT_ONCE]
