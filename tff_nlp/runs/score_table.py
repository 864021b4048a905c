"""A table of the scores by domain, with the scores of a domain that trained alone."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tff_nlp.printable import printable

if TYPE_CHECKING:  # It needs TensorFlow.
    from tff_nlp.tasks.task import Report

_MISSING = "-"


def lines(result: Mapping[str, Any], report: "Report") -> list[str]:
    """Returns the lines of the table; none if the result has no scores by domain and no `alone`.

    Args:
      result: The content of result.json.
      report: The report of the task, with the names of the score and its baseline.
    """
    # The test corpus may have no domains.
    by_domain = result["test"].get("domains", {})
    alone = result.get("alone")
    if not by_domain and alone is None:
        return []
    rows = [
        [report.headline, "federated", report.baseline_name, "examples"],
        _row("test", result["test"], report),
    ]
    rows += [_row(f"  {name}", scores, report) for name, scores in by_domain.items()]
    if "held_out" in result:
        rows.append(_row("held-out clients", result["held_out"], report))
    if alone is not None:
        parts = [alone["test"], *alone["test"].get("domains", {}).values()]
        scores = [_shown(part[report.headline], report) for part in parts]
        cells = [f"{alone['domain']} alone", *scores]
        for number, row in enumerate(rows):
            row.insert(2, cells[number] if number < len(cells) else _MISSING)
    return _aligned(rows)


def _row(name: str, scores: Mapping[str, Any], report: "Report") -> list[str]:
    columns = [_shown(scores[column], report) for column in (report.headline, report.baseline)]
    return [name, *columns, f"{scores['examples']:,}"]


def _shown(score: float, report: "Report") -> str:
    return f"{score:.1%}" if report.is_share else f"{score:.1f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns the rows as lines: names to the left, numbers to the right."""
    cells = [[printable(cell, 40) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in cells
    ]
