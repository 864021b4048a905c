"""What a run leaves behind: result.json, pictures, the exported model, and a few lines to read."""

import dataclasses
import importlib.metadata
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments import task
from tff_nlp.models import classifier
from tff_nlp.program import evaluation, pictures, run_directory, training
from tff_nlp.serving import export

_VERSIONS = ("tff_nlp", "tensorflow", "tensorflow-federated", "keras-nlp", "numpy")


@dataclasses.dataclass(frozen=True, eq=False)
class Facts:
    """What the result needs beside the scores.

    Attributes:
      began: When the program started, by `time.monotonic`.
      config: The resolved configuration.
      data: The corpora.
      model: The classifier.
      max_tokens: Longest text of the exported model.
      partition_checksum: Of who holds what, None without clients.
      bytes_down: Sent to a client per round, None without clients.
      bytes_up: Sent by a client per round, None without clients.
      rounds: Rounds, or epochs of central training.
      weights: Final weights, `trainable` and `non_trainable`.
    """

    began: float
    config: Mapping[str, Any]
    data: task.Data
    model: classifier.Classifier
    max_tokens: int
    partition_checksum: str | None
    bytes_down: int | None
    bytes_up: int | None
    rounds: int
    weights: Any


def write(directory: run_directory.RunDirectory, outcome: training.Outcome, facts: Facts) -> None:
    """Writes everything that a finished run leaves; result.json comes last."""
    names = facts.data.train.label_names
    title = facts.data.train.name + (" (synthetic)" if facts.data.train.synthetic else "")
    test = outcome.scores["test"]
    pictures.draw_curves(
        outcome.rows,
        directory.path / "curves.png",
        title=title,
        majority=test.majority_accuracy,
    )
    pictures.draw_confusion(
        test.confusion, names, directory.path / "confusion.png", title=f"{title}: test"
    )
    export.export(
        directory.path / "model",
        facts.model,
        [np.asarray(w) for w in facts.weights.trainable],
        [np.asarray(w) for w in facts.weights.non_trainable],
        names,
        facts.max_tokens,
        info={"corpus": facts.data.train.name, "synthetic": facts.data.train.synthetic},
    )
    result = _result(outcome, facts)
    directory.save_result(result)
    print_summary(result)
    print(f"saved {directory.path}: result.json, curves.png, confusion.png, metrics.csv, model/")


def print_summary(result: Mapping[str, Any]) -> None:
    """Prints the scores of a result in a few lines."""
    test = result["test"]
    print(
        f"test      accuracy {test['accuracy']:.4f}, macro F1 {test['macro_f1']:.4f}; always the "
        f"most frequent label: {test['majority_accuracy']:.4f} ({test['examples']:,} examples)"
    )
    for name in ("clients", "held_out"):
        if name in result:
            over = result[name]["over_clients"]
            print(
                f"{name:9} mean {over['mean']:.4f}, worst tenth {over['worst_decile']:.4f}, "
                f"standard deviation {over['standard_deviation']:.4f} over {over['clients']} "
                "clients"
            )
    if test["warning"]:
        print(f"warning   {test['warning']}")


def _result(outcome: training.Outcome, facts: Facts) -> dict[str, Any]:
    result: dict[str, Any] = {name: _scores(s) for name, s in outcome.scores.items()}
    result["test"]["label_names"] = list(facts.data.train.label_names)
    result["best"] = _best(outcome.rows)
    seconds = [float(row["seconds"]) for row in outcome.rows]
    result.update(
        rounds=facts.rounds,
        trainable_parameters=facts.model.trainable_parameters,
        frozen_parameters=facts.model.frozen_parameters,
        seconds={
            "total": round(sum(seconds), 3),
            "per_round": round(float(np.median(seconds)), 3),
            "this_program": round(time.monotonic() - facts.began, 3),
        },
        synthetic=facts.data.train.synthetic,
        fingerprints=dict(task.fingerprints(facts.data)),
        versions={name: importlib.metadata.version(name) for name in _VERSIONS},
        config=dict(facts.config),
    )
    if facts.bytes_down is not None:
        result["bytes_per_client"] = {"down": facts.bytes_down, "up": facts.bytes_up}
        result["fingerprints"]["partition"] = facts.partition_checksum
    return result


def _scores(scores: evaluation.Scores) -> dict[str, Any]:
    values: dict[str, Any] = {
        "accuracy": scores.accuracy,
        "macro_f1": scores.macro_f1,
        "loss": scores.loss,
        "majority_accuracy": scores.majority_accuracy,
        "examples": scores.examples,
        "confusion": [list(row) for row in scores.confusion],
        "warning": scores.warning(),
    }
    if scores.clients is not None:
        values["over_clients"] = dataclasses.asdict(scores.clients)
    return values


def _best(rows: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Returns the best evaluated round by test accuracy: chosen on the test set, so optimistic."""
    scored = [row for row in rows if row.get("test_accuracy")]
    best = max(scored, key=lambda row: float(row["test_accuracy"]))
    return {
        "round": int(best["round"]),
        "test_accuracy": float(best["test_accuracy"]),
        "test_macro_f1": float(best["test_macro_f1"]),
        "chosen_on": "test",
    }
