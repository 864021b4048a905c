"""A table of the scores by domain, with the scores of a domain that trained alone."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tff_nlp.printable import printable
from tff_nlp.runs import text_table

if TYPE_CHECKING:  # It needs TensorFlow.
    from tff_nlp.tasks.task import Report

_MISSING = "-"
_LONGEST_NAME = 40  # Characters of a domain's name in a line.


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
        cells = [_name(f"{alone['domain']} alone"), *scores]
        for number, row in enumerate(rows):
            row.insert(2, cells[number] if number < len(cells) else _MISSING)
    return text_table.aligned(rows)


def _row(name: str, scores: Mapping[str, Any], report: "Report") -> list[str]:
    columns = [_shown(scores[column], report) for column in (report.headline, report.baseline)]
    return [_name(name), *columns, f"{scores['examples']:,}"]


def _name(name: str) -> str:
    return printable(name, _LONGEST_NAME)


def _shown(score: float, report: "Report") -> str:
    return f"{score:.1%}" if report.is_share else f"{score:.1f}"
