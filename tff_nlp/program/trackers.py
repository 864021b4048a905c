"""Experiment trackers: they receive each round while a run trains, and its result at the end."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from tff_nlp.program import metrics_log

# The part of a column's name that becomes a group of metrics. Columns without such a part are in a
# group of their own: a store of files cannot have both a metric "clients" and a group "clients/".
_GROUP = re.compile(r"^(held_out|[a-z]+)_")
_UNGROUPED = "round"

Value = int | float | str | bool


class Tracker(Protocol):
    """A record of one run outside of its own files.

    A tracker begins with an empty record and replaces the record of an earlier start. So a resumed
    run adds the rows of all its rounds again, and each round is in the record once.
    """

    def add(self, row: Mapping[str, float]) -> None:
        """Adds a round.

        Args:
          row: Values by column of metrics.csv, with the number of the round.
        """

    def finish(self, result: Mapping[str, Any]) -> None:
        """Adds the result and marks the record as complete.

        Args:
          result: The content of result.json.
        """

    def close(self) -> None:
        """Ends the record. Without `finish` before it, the run failed or was stopped."""


def add_all(trackers: Sequence[Tracker], rows: Sequence[Mapping[str, str]]) -> None:
    """Adds the rows of a resumed run to trackers.

    Args:
      trackers: The trackers.
      rows: Rows of metrics.csv as text. Empty cells are left out.
    """
    for row in rows:
        numbers = {column: float(cell) for column, cell in row.items() if cell}
        for tracker in trackers:
            tracker.add(numbers)


def step(row: Mapping[str, float]) -> int:
    """Returns the number of a row's round."""
    return int(row[metrics_log.KEY])


def metrics(row: Mapping[str, float]) -> dict[str, float]:
    """Returns the values of a row by metric, the name that every tracker shows: "test/accuracy".

    Args:
      row: Values by column of metrics.csv.
    """
    return {_metric(column): row[column] for column in row if column != metrics_log.KEY}


def _metric(column: str) -> str:
    grouped = _GROUP.sub(r"\1/", column)
    return grouped if "/" in grouped else f"{_UNGROUPED}/{grouped}"


def flatten(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Value]]:
    """Yields the numbers and texts of nested JSON objects by dotted name: "test.accuracy".

    Lists and nulls are left out.

    Args:
      values: The JSON object.
      before: Name of the object that contains this one, with a dot at its end.
    """
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{before}{name}.")
        elif isinstance(value, Value):
            yield f"{before}{name}", value
