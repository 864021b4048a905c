"""Runs the cells of a paper's tables, and writes ours beside the published numbers.

Cells that have their number are not computed again, and a run that was stopped goes on.
"""

import dataclasses
import datetime
import fnmatch
import hashlib
import json
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tff_nlp import durable_files, errors
from tff_nlp.runs import cells as runs
from tff_nlp.runs import configs, paper, reporter, reproduction_page, reproduction_picture
from tff_nlp.runs import result as result_file

RESULT, PAGE, MARKDOWN = "reproduction.json", "reproduction.html", "reproduction.md"
_RUNS, _RESULTS = "runs", "results"


def reproduce(
    name: str,
    published: paper.Paper,
    scale: str,
    *,
    data_dir: pathlib.Path,
    output_dir: pathlib.Path,
    chosen: str = "*",
) -> Mapping[str, Any]:
    """Computes the cells of a paper, in turn, and writes the page, the pictures and the JSON.

    Args:
      name: Name of the paper.
      published: The paper.
      scale: One of `paper.SCALES`.
      data_dir: Folder of the corpora.
      output_dir: Folder for the files and for one folder per run.
      chosen: Patterns of the names of cells, separated by semicolons.

    Returns:
      The content of reproduction.json.

    Raises:
      UserError: If a corpus is missing, no cell is chosen, or the folder belongs to another table.
      RunError: If training fails.
    """
    wanted = _chosen(published, chosen)
    trained = [(cell_name, cell) for cell_name, cell in wanted if cell.compute is None]
    jobs = [(*named, seed) for seed in published.scale(scale).seeds for named in trained]
    if jobs:
        paper.check_files(published, data_dir)
    _check_folder(output_dir, name, scale)
    results = _Results(output_dir)
    for number, (cell_name, cell, seed) in enumerate(jobs, start=1):
        key = _key(published, cell, scale, seed)
        if key in results:
            continue
        where = f"{number} of {len(jobs)}, seed {seed}"
        reporter.say("cell", [f"{where}: {errors.verbatim(cell_name)}"])
        began = time.monotonic()
        result = _measure(published, cell, scale, seed, data_dir, output_dir)
        results.add(key, {"seconds": round(time.monotonic() - began, 1), "result": result})
        write(name, published, scale, results, output_dir)
    found = write(name, published, scale, results, output_dir)
    reporter.show(reproduction_page.lines(found))
    reporter.say("saved", [f"{errors.verbatim(output_dir)}: {PAGE}, {MARKDOWN}, {RESULT}"])
    return found


def write(
    name: str, published: paper.Paper, scale: str, results: "_Results", output_dir: pathlib.Path
) -> Mapping[str, Any]:
    """Writes the page, the pictures and the JSON from the results so far, and returns the JSON."""
    used = {
        key
        for _, _, cell in published.cells()
        for seed in published.scale(scale).seeds
        if cell.compute is None and (key := _key(published, cell, scale, seed)) in results
    }
    found = {
        "paper": name,
        "title": published.title,
        "citation": published.citation,
        "source": published.source,
        "scale": scale,
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "minutes": round(sum(results[key]["seconds"] for key in used) / 60, 1),
        "tables": [_table(published, table, scale, results) for table in published.tables],
        "departures": [dataclasses.asdict(d) for d in paper.departures_of(published, scale)],
        "findings": list(published.findings),
    }
    durable_files.replace_text(output_dir / RESULT, json.dumps(found, indent=1) + "\n")
    pictures = reproduction_picture.draw(found, output_dir)
    blocks = reproduction_page.blocks(found, pictures)
    durable_files.replace_text(output_dir / PAGE, reproduction_page.html(found, blocks))
    durable_files.replace_text(output_dir / MARKDOWN, reproduction_page.markdown(blocks))
    return found


def machine() -> dict[str, Any]:
    """Returns what computed the numbers."""
    return {
        "processors": len(os.sched_getaffinity(0)),
        "kind": platform.machine(),
        "Python": platform.python_version(),
        "TensorFlow": result_file.version_of("tensorflow"),
    }


def _chosen(published: paper.Paper, patterns: str) -> list[tuple[str, paper.Cell]]:
    wanted = [pattern.strip() for pattern in patterns.split(";")]
    found = [
        (name, cell)
        for name, _, cell in published.cells()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted)
    ]
    if not found:
        names = "; ".join(name for name, _, _ in published.cells())
        raise errors.UserError(f"{errors.setting('cells', patterns)}: there are only {names}")
    return found


def _measure(
    published: paper.Paper,
    cell: paper.Cell,
    scale: str,
    seed: int,
    data_dir: pathlib.Path,
    output_dir: pathlib.Path,
) -> Mapping[str, Any]:
    """Returns what the run of a cell, or the attack on it, has found; or why there is nothing."""
    folder = output_dir / _RUNS / _key(published, cell, scale, seed, with_attack=False)
    config = paper.config_of(
        published, cell, scale, seed=seed, data_dir=data_dir, output_dir=str(folder)
    )
    entry, result = runs.train(config)
    if not result:
        return entry
    if cell.attack is None:
        return result
    from tff_nlp.runs import inversion  # It needs TensorFlow.

    return inversion.attack(folder, configs.InversionConfig(**cell.attack, seed=seed))


def _key(
    published: paper.Paper, cell: paper.Cell, scale: str, seed: int, *, with_attack: bool = True
) -> str:
    """Returns a name for what is computed. Cells with the same run have the same one."""
    settings = {**published.settings, **cell.settings}
    settings |= {n: c.value for n, c in paper.changes_of(published, cell, scale).items()}
    attack = sorted(cell.attack.items()) if cell.attack and with_attack else ""
    what = json.dumps([sorted(settings.items()), cell.is_central, attack, seed])
    return hashlib.sha256(what.encode()).hexdigest()[:12]


def _check_folder(folder: pathlib.Path, name: str, scale: str) -> None:
    """Makes the folder.

    Raises:
      UserError: If it holds something else than these tables, or cannot be used.
    """
    where = errors.setting("output_dir", folder)
    try:
        if (folder / RESULT).exists():
            held = json.loads((folder / RESULT).read_text(encoding="utf-8"))
            what = f"{held['paper']} at the scale {held['scale']}"
            if what != f"{name} at the scale {scale}":
                raise errors.UserError(f"{where}: holds {what}; use a new folder")
        elif folder.is_dir() and any(folder.iterdir()) and not (folder / _RESULTS).is_dir():
            raise errors.UserError(f"{where}: holds other files; use a new folder")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise errors.UserError(f"{where}: cannot be used ({error.strerror})") from error
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise errors.UserError(f"{where}: {RESULT} is damaged; delete it") from error


class _Results:
    """The results so far, a file each. Its name says what was computed."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder / _RESULTS
        self._folder.mkdir(exist_ok=True)

    def __contains__(self, key: str) -> bool:
        return (self._folder / f"{key}.json").exists()

    def __getitem__(self, key: str) -> Mapping[str, Any]:
        path = self._folder / f"{key}.json"
        try:
            value: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise errors.UserError(
                f"{errors.verbatim(path)} is damaged; delete it, and repeat the command"
            ) from error
        return value

    def add(self, key: str, value: Mapping[str, Any]) -> None:
        durable_files.replace_text(self._folder / f"{key}.json", json.dumps(value) + "\n")


def _table(
    published: paper.Paper, table: paper.Table, scale: str, results: _Results
) -> dict[str, Any]:
    entries = [_entry(published, cell, scale, results) for cell in table.cells]
    return {
        "title": table.title,
        "rows": table.rows,
        "columns": table.columns,
        "unit": table.unit,
        "digits": table.digits,
        "exact": table.exact,
        "published": table.published,
        "cells": entries,
        "orders": _orders(table, entries),
    }


def _entry(
    published: paper.Paper, cell: paper.Cell, scale: str, results: _Results
) -> dict[str, Any]:
    values, failed, seeds = [], [], []
    if cell.compute is not None:
        values = [cell.compute()]
    else:
        for seed in published.scale(scale).seeds:
            key = _key(published, cell, scale, seed)
            if key not in results:
                continue
            seeds.append(seed)
            result = results[key]["result"]
            why = [f"{word}: {result[word]}" for word in ("refused", "diverged") if word in result]
            failed += why
            values += [] if why else [cell.value(result)]
    ours = statistics.fmean(values) if values else None
    return {
        "row": cell.row,
        "column": cell.column,
        "ours": ours,
        "published": cell.published,
        "difference": None if None in (ours, cell.published) else ours - cell.published,  # type: ignore[operator]
        "seeds": seeds,
        "values": values,
        "standard_deviation": statistics.stdev(values) if len(values) > 1 else None,
        "failed": failed,
    }


def _orders(table: paper.Table, entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns each pair of cells whose order is published, and whether ours have the same order.

    The difference of ours is clear if it is larger than the sum of both standard deviations.
    """
    if table.exact:
        return []
    by_place = {(e["row"], e["column"]): e for e in entries}
    pairs = [*table.higher, *_published_pairs(table.compares, entries)]
    found = []
    for first, second in pairs:
        one, other = by_place[first], by_place[second]
        if one["ours"] is None or other["ours"] is None:
            continue
        difference = one["ours"] - other["ours"]
        spreads = [one["standard_deviation"], other["standard_deviation"]]
        clear = None not in spreads and abs(difference) > sum(spreads)
        found.append(
            {
                "higher": list(first),
                "lower": list(second),
                "ours": difference,
                "holds": difference > 0,
                "clear": clear,
            }
        )
    return found


def _published_pairs(
    compares: str, entries: Sequence[Mapping[str, Any]]
) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """Returns the places of all pairs that the paper compares, the larger number first."""
    if not compares:
        return []
    same = "column" if compares == "rows" else "row"
    pairs = []
    for number, one in enumerate(entries):
        for other in entries[number + 1 :]:
            known = one["published"] is not None and other["published"] is not None
            if known and one[same] == other[same] and one["published"] != other["published"]:
                pair = sorted((one, other), key=lambda entry: -entry["published"])
                pairs.append(tuple((entry["row"], entry["column"]) for entry in pair))
    return pairs  # type: ignore[return-value]
