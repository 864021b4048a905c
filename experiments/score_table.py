"""The end of a run by domains: every domain's accuracy, and what one of them reaches alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from tff_nlp.printable import printable

_MISSING = "-"


def lines(result: Mapping[str, Any]) -> list[str]:
    """Returns the table of a result; nothing where there was neither a domain nor one alone.

    Args:
      result: The content of result.json.
    """
    # A test corpus may have no domains.
    by_domain = result["test"].get("domains", {})
    alone = result.get("alone")
    if not by_domain and alone is None:
        return []
    head = ["accuracy", "federated", "most frequent label", "examples"]
    rows = [head, _row("test", result["test"])]
    rows += [_row(f"  {name}", scores) for name, scores in by_domain.items()]
    if "held_out" in result:
        rows.append(_row("held-out clients", result["held_out"]))
    if alone is not None:
        scores = alone["test"]
        parts = [scores, *scores.get("domains", {}).values()]
        cells = [f"{alone['domain']} alone", *(_percent(part["accuracy"]) for part in parts)]
        for number, row in enumerate(rows):
            row.insert(2, cells[number] if number < len(cells) else _MISSING)
    return _aligned(rows)


def _row(name: str, scores: Mapping[str, Any]) -> list[str]:
    return [
        name,
        _percent(scores["accuracy"]),
        _percent(scores["majority_accuracy"]),
        f"{scores['examples']:,}",
    ]


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns the rows as lines: names to the left, numbers to the right."""
    shown = [[printable(cell, 40) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in shown
    ]
