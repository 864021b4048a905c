"""metrics.csv has one row per round. No row is lost or doubled when a run is killed and resumed."""

import csv
import io
import pathlib
from collections.abc import Mapping, Sequence

from tff_nlp import durable_files, errors

KEY = "round"


class MetricsLog:
    """A CSV file with one row per round and fixed columns.

    A cell is empty if the round has no value, for example a score between two evaluations.
    """

    def __init__(self, path: pathlib.Path, columns: Sequence[str]) -> None:
        """Opens the log.

        Args:
          path: The file. It is made when it is first written.
          columns: The names of the columns after the round.
        """
        self._path = path
        self._columns = (KEY, *columns)

    def rewind(self, rounds: int) -> None:
        """Removes the rows after a round. These rounds will be computed again.

        Args:
          rounds: Number of completed rounds. Their rows stay.

        Raises:
          UserError: If rows of completed rounds are missing.
          WriteError: If the file cannot be written.
        """
        rows = [row for row in self.rows() if int(row[KEY]) <= rounds]
        if [int(row[KEY]) for row in rows] != list(range(1, rounds + 1)):
            raise errors.UserError(
                f"`output_dir`: {errors.verbatim(self._path)} should have a row for each of the "
                f"{rounds} rounds of the last checkpoint; use another folder"
            )
        text = io.StringIO()
        writer = csv.DictWriter(text, self._columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({c: row.get(c, "") for c in self._columns} for row in rows)
        durable_files.replace_text(self._path, text.getvalue())

    def append(self, row: Mapping[str, float]) -> None:
        """Adds a row and waits until it is on disk.

        Args:
          row: Column -> value. Missing columns get empty cells.

        Raises:
          ValueError: If there is no such column.
          WriteError: If the row cannot be written.
        """
        unknown = set(row) - set(self._columns)
        if unknown:
            raise ValueError(f"no such columns: {', '.join(sorted(unknown))}")
        line = io.StringIO()
        csv.DictWriter(line, self._columns, restval="", lineterminator="\n").writerow(row)
        durable_files.append_text(self._path, line.getvalue())

    def rows(self) -> list[dict[str, str]]:
        """Returns all complete rows."""
        return read(self._path)


def read(path: pathlib.Path) -> list[dict[str, str]]:
    """Returns all complete rows of a file; none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        # A row that was cut off by a kill lacks its last cells or its line end.
        complete = [line for line in file if line.endswith("\n")]
    rows = csv.DictReader(complete, restval=None)
    return [row for row in rows if None not in row.values() and row.get(KEY, "").isdigit()]
