"""What loading did: how many rows were read, skipped and dropped, and why."""

import dataclasses
from collections.abc import Mapping

from tff_nlp.corpora.corpus import Corpus


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """Counts of one load; `rows_read` is the sum of kept, skipped and dropped rows.

    Attributes:
      files: The files read, or the name of the data set.
      format: The format they were read as.
      rows_read: Rows in the files, without headers and without blank lines of tables.
      rows_kept: Examples of the corpus.
      skipped: Rows that could not be used, by reason.
      first_skipped: File and row of the first one, by reason.
      dropped_by_label_map: Rows whose label is mapped to "drop".
      notes: Further things that happened, one sentence each.
    """

    files: tuple[str, ...]
    format: str
    rows_read: int
    rows_kept: int
    skipped: Mapping[str, int]
    first_skipped: Mapping[str, str]
    dropped_by_label_map: int
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """Returns the report for people, one sentence a line."""
        files = self.files[0] if len(self.files) == 1 else f"{len(self.files)} files"
        said = [f"{files}, read as {self.format}: {self.rows_read} rows, {self.rows_kept} kept"]
        for reason, count in self.skipped.items():
            said.append(f"{count} rows skipped: {reason} (first: {self.first_skipped[reason]})")
        if self.dropped_by_label_map:
            said.append(f"{self.dropped_by_label_map} rows dropped by --label_map")
        return said + list(self.notes)


@dataclasses.dataclass(frozen=True)
class LoadedCorpus:
    """A corpus and what loading it did."""

    corpus: Corpus
    report: LoadReport
