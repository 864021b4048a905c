"""The numbers of a published table: ours over all seeds, and whether the published orders hold."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from tff_nlp.runs import paper

# Seed -> content of result.json, or of text_attack.json; "refused" or "diverged" with the reason.
Results = Mapping[int, Mapping[str, Any]]


def build(
    table: paper.Table,
    results: Mapping[paper.Cell, Results],
    computed: Mapping[paper.Cell, float],
) -> dict[str, Any]:
    """Returns the entry of a table in reproduction.json.

    Args:
      table: The table.
      results: The results of runs so far.
      computed: The numbers of the cells without a run.
    """
    entries = [
        _entry(cell, [computed[cell]], [], [])
        if cell in computed
        else _measured(cell, results.get(cell, {}))
        for cell in table.cells
    ]
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


def _measured(cell: paper.Cell, results: Results) -> dict[str, Any]:
    """Returns the entry of a cell with runs."""
    values, guesses, failed = [], [], []
    for result in results.values():
        why = [f"{word}: {result[word]}" for word in ("refused", "diverged") if word in result]
        failed += why
        if not why:
            values.append(cell.value(result))
            guesses.append(result.get("test", {}).get("majority_accuracy"))
    entry = _entry(cell, values, list(results), failed)
    if cell.value is paper.accuracy and values and None not in guesses:
        entry["most_frequent_label"] = 100 * statistics.fmean(guesses)
    return entry


def _entry(
    cell: paper.Cell, values: Sequence[float], seeds: Sequence[int], failed: Sequence[str]
) -> dict[str, Any]:
    ours = statistics.fmean(values) if values else None
    difference = None
    if ours is not None and cell.published is not None:
        difference = ours - cell.published
    return {
        "row": cell.row,
        "column": cell.column,
        "ours": ours,
        "published": cell.published,
        "difference": difference,
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
