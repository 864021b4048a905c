"""Trains once for each attack and each aggregator, and compares the final models.

Each cell of the matrix is a run in a folder of its own. Cells that are finished are not trained
again.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from tff_nlp import durable_files, errors
from tff_nlp.aggregation.robust import names as robust
from tff_nlp.learning import attack_names
from tff_nlp.runs import cells as runs
from tff_nlp.runs import checks, configs, reporter, robustness_picture, text_table

RESULT, PICTURE = "robustness.json", "robustness.png"
_NO_FOLDER = "must be given: each attack and aggregator has a folder in it"


def run(base: configs.FederatedRun, matrix: configs.RobustnessConfig) -> Mapping[str, Any]:
    """Trains all cells that are not finished, and writes the table and the picture.

    Args:
      base: The configuration that all cells share, with an `output_dir`.
      matrix: The attacks and the aggregators.

    Returns:
      The content of robustness.json: for each attack and aggregator, the headline of the test
      scores and, for a backdoor, its success; or why the cell is refused, or that the attack made
      training diverge.

    Raises:
      UserError: If `output_dir` is missing, `attack` or `aggregator` are given, or a flag, a file
        or a row is wrong.
      RunError: If training fails.
    """
    _check(base)
    folder = pathlib.Path(base.place.output_dir)
    cells: dict[str, dict[str, Any]] = {}
    for attack in matrix.rows():
        cells[attack] = {}
        for aggregator in matrix.columns():
            reporter.say("cell", [f"{attack} against {aggregator}"])
            cell = _cell(base, attack, aggregator, folder)
            entry, result = runs.train(cell)
            success = result.get("attack", {}).get("backdoor_success")
            if success is not None:
                entry["backdoor_success"] = success
            cells[attack][aggregator] = entry
    found = {"task": base.corpus.task, "corpus": base.corpus.corpus, "cells": cells}
    durable_files.replace_text(folder / RESULT, json.dumps(found, indent=2) + "\n")
    robustness_picture.draw(cells, folder / PICTURE, title=pathlib.Path(base.corpus.corpus).name)
    reporter.show(table(cells))
    reporter.say("saved", [f"{errors.verbatim(folder)}: {RESULT}, {PICTURE}, a folder per cell"])
    return found


def table(cells: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """Returns the lines of the table for a terminal. A backdoor's success is in brackets."""
    columns = list(next(iter(cells.values())))
    rows = [["", *columns]]
    rows += [[attack, *(_shown(row[name]) for name in columns)] for attack, row in cells.items()]
    return text_table.aligned(rows)


def _shown(cell: Mapping[str, Any]) -> str:
    success = cell.get("backdoor_success")
    return runs.outcome(cell) + ("" if success is None else f" ({success:.3f})")


def _check(base: configs.FederatedRun) -> None:
    if not base.place.output_dir:
        checks.refuse_missing("output_dir", _NO_FOLDER)
    for name, value, default, instead in (
        ("attack", base.attack.attack, attack_names.NONE, "attacks"),
        ("aggregator", base.aggregation.aggregator, robust.MEAN, "aggregators"),
    ):
        if value != default:
            checks.refuse(name, value, f"the matrix has several; take `{instead}`")


def _cell(
    base: configs.FederatedRun, attack: str, aggregator: str, folder: pathlib.Path
) -> configs.FederatedRun:
    """Returns the configuration of a cell, without the options that it does not use."""
    options = dataclasses.replace(base.attack, attack=attack)
    rule = dataclasses.replace(base.aggregation, aggregator=aggregator)
    place = dataclasses.replace(base.place, output_dir=str(folder / f"{attack}-{aggregator}"))
    return dataclasses.replace(
        base,
        attack=configs.reset_unused(options),
        aggregation=configs.reset_unused(rule),
        place=place,
    )
