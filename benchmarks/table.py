"""Prints the figures of a shape as a table."""

from collections.abc import Sequence

from benchmarks.figures import Figures, find
from tff_nlp.runs import text_table

_COLUMNS = (
    "context",
    "examples/s",
    "min",
    "max",
    "/ fit",
    "/ ceiling",
    "CPU s/round",
    "peak GB",
    "1st round s",
)


def table(figures: Sequence[Figures]) -> str:
    """Returns a table with a row per context, and a line on the contender that is the ceiling."""
    fit, ceiling = find(figures, "fit"), find(figures, "ceiling")
    rows = [
        (
            f.context,
            _rate(f.rate),
            _rate(min(f.rates)),
            _rate(max(f.rates)),
            f"{f.rate / fit.rate:.2f}" if fit else "-",
            f"{f.rate / ceiling.rate:.2f}" if ceiling else "-",
            f"{f.cpu_seconds_per_round:.2f}",
            f"{f.peak_bytes / 1e9:.2f}",
            f"{f.first_round_after:.1f}",
        )
        for f in figures
    ]
    lines = text_table.aligned([_COLUMNS, *rows])
    if ceiling:
        slower = "".join(f"; {v}: {_rate(rate)}" for v, rate in ceiling.other_variants.items())
        lines.append(f"ceiling is {ceiling.variant}{slower}")
    return "\n".join(lines)


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"
