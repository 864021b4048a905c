"""Trains once for each way to send fewer bytes, and compares the scores and the bytes.

Each is a run in a folder of its own. Runs that are finished are not trained again.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from tff_nlp import durable_files, errors
from tff_nlp.aggregation.compression import names
from tff_nlp.program import metrics_log, run_directory
from tff_nlp.runs import (
    cells,
    checks,
    compression_picture,
    configs,
    reporter,
    sent_bytes,
    text_table,
)
from tff_nlp.runs.configs.compression import FLOAT_BITS

RESULT, PICTURE = "compression.json", "compression.png"
_NO_FOLDER = "must be given: each run has a folder in it"


def run(base: configs.FederatedRun, plan: configs.CompressionPlanConfig) -> Mapping[str, Any]:
    """Trains all runs that are not finished, and writes the table and the picture.

    Args:
      base: The configuration that all runs share, with an `output_dir`.
      plan: The ways to send fewer bytes.

    Returns:
      The content of compression.json: for each way the headline of the test scores, the bytes that
      a client sends in a round, and the curve; or why it is refused, or that training diverged.

    Raises:
      UserError: If `output_dir` is missing, `compression` or `upload_bits` are given, or a flag, a
        file or a row is wrong.
      RunError: If training fails.
    """
    _check(base)
    folder = pathlib.Path(base.place.output_dir)
    found: dict[str, dict[str, Any]] = {}
    for name, bits in plan.pairs():
        label = name if bits == FLOAT_BITS else f"{name}, {bits} bits"
        reporter.say("run", [label])
        own = _with(base, name, bits, folder)
        entry, result = cells.train(own)
        if result:
            entry |= _bytes(pathlib.Path(own.place.output_dir), result)
        found[label] = entry
    written = {"task": base.corpus.task, "corpus": base.corpus.corpus, "runs": found}
    durable_files.replace_text(folder / RESULT, json.dumps(written, indent=2) + "\n")
    compression_picture.draw(found, folder / PICTURE, title=pathlib.Path(base.corpus.corpus).name)
    reporter.show(table(found))
    reporter.say("saved", [f"{errors.verbatim(folder)}: {RESULT}, {PICTURE}, a folder per run"])
    return written


def table(found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Returns the lines of the table for a terminal."""
    rows = [["compression", "test score", "bytes up per client and round", "times fewer"]]
    most = max((entry["bytes_up"] for entry in found.values() if "bytes_up" in entry), default=0)
    for label, entry in found.items():
        sent = entry.get("bytes_up")
        shown = ["", ""] if sent is None else [f"{sent:,}", f"{most / sent:.1f}"]
        rows.append([label, cells.outcome(entry), *shown])
    return text_table.aligned(rows)


def _check(base: configs.FederatedRun) -> None:
    if not base.place.output_dir:
        checks.refuse_missing("output_dir", _NO_FOLDER)
    for name, value, default in (
        ("compression", base.compression.compression, names.NONE),
        ("upload_bits", base.compression.upload_bits, FLOAT_BITS),
    ):
        if value != default:
            checks.refuse(name, value, "several are compared; take `compressions`")


def _with(
    base: configs.FederatedRun, name: str, bits: int, folder: pathlib.Path
) -> configs.FederatedRun:
    """Returns the configuration of a run, without the options that it does not use."""
    chosen = dataclasses.replace(base.compression, compression=name, upload_bits=bits)
    own = name if bits == FLOAT_BITS else f"{name}-{bits}bits"
    place = dataclasses.replace(base.place, output_dir=str(folder / own))
    return dataclasses.replace(base, compression=configs.reset_unused(chosen), place=place)


def _bytes(folder: pathlib.Path, result: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the bytes that a client of a finished run sent, and the curve of the score."""
    up = result["bytes_per_client"]["up"]
    rows = metrics_log.read(folder / run_directory.METRICS)
    return {"bytes_up": up, "curve": curve(rows, cells.headline(result), up)}


def curve(rows: Sequence[Mapping[str, str]], measure: str, up: int) -> list[tuple[int, float]]:
    """Returns the bytes that all clients have sent, and the test score, of each evaluated round.

    Args:
      rows: The rows of metrics.csv.
      measure: Name of the test score.
      up: Bytes that a client sends in a round.
    """
    sent, column = sent_bytes.cumulative(rows, down=0, up=up), f"test_{measure}"
    return [
        (total, float(row[column])) for total, row in zip(sent, rows, strict=True) if row[column]
    ]
