"""Reads the records of trackers back, with the readers of MLflow and W&B."""

import dataclasses
import json
import pathlib


@dataclasses.dataclass(frozen=True)
class Record:
    """What a tracker has of a run.

    Attributes:
      name: Name of the run.
      complete: Whether the run is marked as finished without a failure.
      config: The configuration, as the tracker keeps it.
      rows: Metric -> list of (round, value), in the order of the record.
      result: The numbers and texts of the result, by dotted name.
    """

    name: str
    complete: bool
    config: dict
    rows: dict
    result: dict


def mlflow(folder):
    """Returns the records of a store, a folder."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(pathlib.Path(folder).as_uri())
    experiment = client.get_experiment_by_name("tff_nlp").experiment_id
    found = []
    for run in client.search_runs([experiment]):
        rows = {
            name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]
            for name in run.data.metrics
        }
        # The result has dots where rows have slashes.
        result = {name: rows.pop(name)[-1][1] for name in list(rows) if "/" not in name}
        tags = {n: v for n, v in run.data.tags.items() if not n.startswith(("mlflow.", "tff_nlp."))}
        found.append(
            Record(
                run.info.run_name,
                run.info.status == "FINISHED",
                run.data.params,
                rows,
                {**result, **tags},
            )
        )
    return found


def wandb(folder):
    """Returns the records of W&B's files in a folder."""
    return [_of_file(path) for path in sorted(pathlib.Path(folder).glob("*run-*/run-*.wandb"))]


def _of_file(path):
    from wandb.proto import wandb_internal_pb2
    from wandb.sdk.internal.datastore import DataStore

    store = DataStore()
    store.open_for_scan(str(path))
    name, complete, config, rows, result = "", False, {}, {}, {}
    while (data := store.scan_data()) is not None:
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.HasField("run"):
            name = record.run.display_name
            config |= _values(record.run.config.update)
        for metric, value in _values(record.history.item).items():
            rows.setdefault(metric, []).append((record.history.step.num, value))
        result |= _values(record.summary.update)
        complete |= record.HasField("exit") and record.exit.exit_code == 0
    # W&B's summary also has the last value of each metric.
    result = {metric: value for metric, value in result.items() if metric not in rows}
    return Record(name, complete, config, rows, result)


def _values(items):
    """Returns the values of items by key, without W&B's own, which begin with a line."""
    named = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}
    return {key: value for key, value in named.items() if not key.startswith("_")}
