"""result.json: what a finished run found, as docs/result.md describes it, and a summary of it."""

import dataclasses
import importlib.metadata
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from experiments import score_table
from tff_nlp.printable import printable
from tff_nlp.program import checkpoints, run_directory

if TYPE_CHECKING:  # A finished run is summed up without loading TensorFlow.
    from experiments.alone import Alone
    from experiments.data import Data
    from experiments.token_report import TokenReport
    from tff_nlp.execution.ledger import ByteLedger
    from tff_nlp.models.classifier import Classifier
    from tff_nlp.privacy.audit_report import Report
    from tff_nlp.program.training import Outcome
    from tff_nlp.tasks.classification_scores import Scores

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
      strip_prefix: What the exported model removes from the start of texts.
      tokens: What the tokenizer leaves out, by "train" and "test".
      partition_checksum: Of who holds what, None without clients.
      bytes_per_client: Sent to and by a client per round, None without clients.
      rounds: Rounds, or epochs of central training.
      weights: Final weights, `trainable` and `non_trainable`.
      audit: What the canaries found, None without any.
      alone: What one domain reached without the others, None without --alone.
    """

    began: float
    config: Mapping[str, Any]
    data: "Data"
    model: "Classifier"
    max_tokens: int
    strip_prefix: str
    tokens: "Mapping[str, TokenReport]"
    partition_checksum: str | None
    bytes_per_client: "ByteLedger | None"
    rounds: int
    weights: Any
    audit: "Report | None" = None
    alone: "Alone | None" = None


def build(outcome: "Outcome", facts: Facts) -> dict[str, Any]:
    """Returns the content of result.json."""
    result: dict[str, Any] = {name: _scores(s) for name, s in outcome.scores.items()}
    names = facts.data.train.label_names
    result["test"]["label_names"] = list(names)
    result["test"]["untested_labels"] = [
        name for name, row in zip(names, result["test"]["confusion"], strict=True) if not sum(row)
    ]
    result["best"] = _best(outcome.rows)
    seconds = [float(row["seconds"]) for row in outcome.rows]
    result.update(
        rounds=facts.rounds,
        trainable_parameters=facts.model.trainable_parameters,
        frozen_parameters=facts.model.frozen_parameters,
        seconds={
            "total": round(sum(seconds), 3),
            "per_round": round(statistics.median(seconds), 3),
            "this_program": round(time.monotonic() - facts.began, 3),
        },
        tokenizer=dataclasses.asdict(facts.model.tokenizer.rules),
        tokens={name: report.to_json() for name, report in facts.tokens.items()},
        synthetic=facts.data.train.synthetic,
        fingerprints={
            "train": facts.data.train.fingerprint,
            "test": facts.data.test.fingerprint,
        },
        versions={name: _version(name) for name in _VERSIONS},
        config=dict(facts.config),
    )
    if outcome.privacy is not None:
        result["privacy"] = {**outcome.privacy.to_json(), "line": outcome.privacy.line()}
    if facts.alone is not None:
        result["alone"] = {"domain": facts.alone.domain, "test": _scores(facts.alone.test)}
    if facts.audit is not None:
        result["audit"] = facts.audit.to_json()
    if facts.bytes_per_client is not None:
        result["bytes_per_client"] = _bytes(facts.bytes_per_client)
        result["fingerprints"]["partition"] = facts.partition_checksum
    return result


def summary(result: Mapping[str, Any]) -> list[str]:
    """Returns the scores of a result in a few lines, for people."""
    test = result["test"]
    lines = [
        f"test      accuracy {test['accuracy']:.4f}, macro F1 {test['macro_f1']:.4f}; always the "
        f"most frequent label: {test['majority_accuracy']:.4f} ({test['examples']:,} examples)"
    ]
    for name in ("clients", "held_out"):
        if name in result:
            over = result[name]["over_clients"]
            lines.append(
                f"{name:9} mean {over['mean']:.4f}, worst tenth {over['worst_decile']:.4f}, "
                f"standard deviation {over['standard_deviation']:.4f} over {over['clients']} "
                "clients"
            )
    if "privacy" in result:
        lines.append(f"privacy   {result['privacy']['line']}")
    if "audit" in result:
        lines.append(f"audit     {result['audit']['line'].removeprefix('audit ')}")
    if test["warning"]:
        lines.append(f"warning   {test['warning']}")
    return lines + score_table.lines(result)


def print_status(directory: run_directory.RunDirectory) -> bool:
    """Prints what a run found, or where it goes, and returns whether it is finished.

    Raises:
      UserError: If result.json is damaged.
    """
    done = directory.result()
    if done is None:
        rounds = checkpoints.latest(directory.checkpoints)
        after = "" if rounds is None else f": goes on after round {rounds}"
        print(f"output    {printable(str(directory.path))}{after}", flush=True)
        return False
    try:
        lines = summary(done)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise run_directory.damaged(directory.path) from error
    print(f"finished  {printable(str(directory.path))}: nothing to do")
    print("\n".join(lines), flush=True)
    return True


def _bytes(sent: "ByteLedger") -> dict[str, int]:
    """Splits the model's bytes, which papers quote, from the few others of a round."""
    down = sent.bytes_of("down", "weights")
    up = sent.bytes_of("up", "update") + sent.bytes_of("up", "secure update")
    return {
        "down": down,
        "up": up,
        "other_down": sent.down - down,
        "other_up": sent.up - up,
        "once": sent.once,
    }


def _scores(scores: "Scores") -> dict[str, Any]:
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
    if scores.domains is not None:
        values["domains"] = {
            name: dataclasses.asdict(found) for name, found in scores.domains.items()
        }
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


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None  # Run from a clone that is on the path but not installed.
