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
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tff_nlp import durable_files, errors
from tff_nlp.program import run_directory
from tff_nlp.runs import cells as runs
from tff_nlp.runs import (
    configs,
    file_fingerprints,
    paper,
    reporter,
    reproduced_tables,
    reproduction_page,
    reproduction_picture,
)
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
      UserError: If a corpus is missing, no cell is chosen, or the folder belongs to another table
        or has results from other files.
      RunError: If training fails.
    """
    wanted = _chosen(published, chosen)
    trained = [(cell_name, cell) for cell_name, cell in wanted if cell.compute is None]
    jobs = [(*named, seed) for seed in published.scale(scale).seeds for named in trained]
    if jobs:
        paper.check_files(published, data_dir)
    held_date = _check_folder(output_dir, name, scale)
    results = _Results(output_dir)
    sources = file_fingerprints.FileFingerprints(data_dir)
    stored = _stored(published, scale, results)
    held = {file for value in stored.values() for file in value.get("files", {}).items()}
    if jobs:
        _check_same_files(held, sources, data_dir, output_dir)
    computed = {c: c.compute() for _, _, c in published.cells() if c.compute is not None}
    found: Mapping[str, Any] | None = None
    for number, (cell_name, cell, seed) in enumerate(jobs, start=1):
        key = _key(published, cell, scale, seed)
        if key in results:
            continue
        where = f"{number} of {len(jobs)}, seed {seed}"
        reporter.say("cell", [f"{where}: {errors.verbatim(cell_name)}"])
        began = time.monotonic()
        files = sources.of(paper.corpora_of(published, cell, scale).values())
        result = _measure(published, cell, scale, seed, data_dir, output_dir)
        # A file may have changed while the cell was computed.
        held |= files.items()
        _check_same_files(held, sources, data_dir, output_dir)
        seconds = round(time.monotonic() - began, 1)
        results.add(key, {"seconds": seconds, "files": files, "result": result})
        if not _has_attacks(published):
            folder = _folder(published, cell, scale, seed, output_dir)
            shutil.rmtree(folder / run_directory.CHECKPOINTS, ignore_errors=True)
        stored = _stored(published, scale, results)
        found = _write(_found(name, published, scale, stored, computed), output_dir, found)
    if found is None:
        content = _found(name, published, scale, stored, computed)
        if jobs and held_date:
            content["date"] = held_date  # Nothing was computed today.
        found = _write(content, output_dir, None)
    reporter.show(reproduction_page.lines(found))
    reporter.say("saved", [f"{errors.verbatim(output_dir)}: {PAGE}, {MARKDOWN}, {RESULT}"])
    return found


def _found(
    name: str,
    published: paper.Paper,
    scale: str,
    stored: Mapping[str, Mapping[str, Any]],
    computed: Mapping[paper.Cell, float],
) -> dict[str, Any]:
    """Returns the content of reproduction.json.

    Args:
      name: Name of the paper.
      published: The paper.
      scale: Name of the scale.
      stored: The results so far, by key.
      computed: The numbers that need no run.
    """
    results: dict[paper.Cell, dict[int, Mapping[str, Any]]] = {}
    for cell, seed, key in _keys(published, scale):
        if key in stored:
            results.setdefault(cell, {})[seed] = stored[key]["result"]
    return {
        "paper": name,
        "title": published.title,
        "citation": published.citation,
        "source": published.source,
        "scale": scale,
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "minutes": round(sum(value["seconds"] for value in stored.values()) / 60, 1),
        "files": {
            "fingerprints": {
                path: digest
                for value in stored.values()
                for path, digest in value.get("files", {}).items()
            },
            "results": len(stored),
            # Those of older versions.
            "results_without": sum("files" not in value for value in stored.values()),
        },
        "tables": [reproduced_tables.build(t, results, computed) for t in published.tables],
        "departures": [dataclasses.asdict(d) for d in paper.departures_of(published, scale)],
        "findings": list(published.findings),
    }


def _write(
    found: Mapping[str, Any], folder: pathlib.Path, before: Mapping[str, Any] | None
) -> Mapping[str, Any]:
    """Writes the page, the pictures that have changed and the JSON, and returns its content.

    Args:
      found: The content of reproduction.json.
      folder: Folder of the files.
      before: The content that this program has written before; None for nothing.
    """
    durable_files.replace_text(folder / RESULT, json.dumps(found, indent=1) + "\n")
    pictures = reproduction_picture.draw(found, folder, before)
    blocks = reproduction_page.blocks(found, pictures)
    durable_files.replace_text(folder / PAGE, reproduction_page.html(found, blocks))
    durable_files.replace_text(folder / MARKDOWN, reproduction_page.markdown(blocks))
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
    folder = _folder(published, cell, scale, seed, output_dir)
    config = paper.config_of(
        published, cell, scale, seed=seed, data_dir=data_dir, output_dir=str(folder)
    )
    # The models of a table would need many gigabytes; only an attack reads them.
    entry, result = runs.train(config, keeps_model=_has_attacks(published))
    if not result:
        return entry
    if cell.attack is None:
        return result
    from tff_nlp.runs import inversion  # It needs TensorFlow.

    return inversion.attack(folder, configs.InversionConfig(**cell.attack, seed=seed))


def _folder(
    published: paper.Paper, cell: paper.Cell, scale: str, seed: int, output_dir: pathlib.Path
) -> pathlib.Path:
    """Returns the folder of a cell's run."""
    return output_dir / _RUNS / _key(published, cell, scale, seed, with_attack=False)


def _has_attacks(published: paper.Paper) -> bool:
    return any(cell.attack is not None for _, _, cell in published.cells())


def _key(
    published: paper.Paper, cell: paper.Cell, scale: str, seed: int, *, with_attack: bool = True
) -> str:
    """Returns a name for what is computed. Cells with the same run have the same one."""
    settings = paper.settings_of(published, cell, scale)
    attack = sorted(cell.attack.items()) if cell.attack and with_attack else ""
    what = json.dumps([sorted(settings.items()), cell.is_central, attack, seed])
    return hashlib.sha256(what.encode()).hexdigest()[:12]


def _keys(published: paper.Paper, scale: str) -> Iterator[tuple[paper.Cell, int, str]]:
    """Yields each cell with a run, each of its seeds, and the key of both."""
    for _, _, cell in published.cells():
        if cell.compute is None:
            for seed in published.scale(scale).seeds:
                yield cell, seed, _key(published, cell, scale, seed)


def _stored(
    published: paper.Paper, scale: str, results: "_Results"
) -> dict[str, Mapping[str, Any]]:
    """Returns the results so far of a paper's cells, by key."""
    return {key: results[key] for _, _, key in _keys(published, scale) if key in results}


def _check_same_files(
    held: Iterable[tuple[str, str]],
    sources: file_fingerprints.FileFingerprints,
    data_dir: pathlib.Path,
    output_dir: pathlib.Path,
) -> None:
    """Compares the files of results with those that are there now.

    Args:
      held: Paths below `data_dir` with the fingerprints that results have recorded.
      sources: The files.
      data_dir: Folder of the files, for the message.
      output_dir: Folder of the results, for the message.

    Raises:
      UserError: If a file is another one.
    """
    now = sources.of({path for path, _ in held})
    for path, digest in sorted(held):
        if now[path] != digest:
            raise errors.UserError(
                f"{errors.setting('data_dir', data_dir)}: {errors.verbatim(path)} is not what the "
                f"results in {errors.verbatim(output_dir)} were computed from; bring that back, or "
                "use a new `output_dir`"
            )


def _check_folder(folder: pathlib.Path, name: str, scale: str) -> str | None:
    """Makes the folder, and returns the date of the results that it holds, if it holds any.

    Raises:
      UserError: If it holds something else than these tables, or cannot be used.
    """
    where = errors.setting("output_dir", folder)
    date = None
    try:
        if (folder / RESULT).exists():
            held = json.loads((folder / RESULT).read_text(encoding="utf-8"))
            what = f"{held['paper']} at the scale {held['scale']}"
            if what != f"{name} at the scale {scale}":
                raise errors.UserError(f"{where}: holds {what}; use a new folder")
            date = str(held["date"])
        elif folder.is_dir() and any(folder.iterdir()) and not (folder / _RESULTS).is_dir():
            raise errors.UserError(f"{where}: holds other files; use a new folder")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise errors.UserError(f"{where}: cannot be used ({error.strerror})") from error
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise errors.UserError(f"{where}: {RESULT} is damaged; delete it") from error
    return date


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
