"""The report of loading a corpus: how many rows were read, skipped and dropped, and why."""

import dataclasses
from collections.abc import Mapping

from tff_nlp.corpora.corpus import Corpus
from tff_nlp.errors import verbatim


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """Counts of one load. `rows_read` is the sum of the kept, skipped and dropped rows.

    Attributes:
      files: The files, or the name of the data set.
      format: The format of the files.
      rows_read: Number of rows in the files, without headers and without blank lines of tables.
      rows_kept: Number of examples in the corpus.
      skipped: Reason -> number of rows that were skipped for it.
      first_skipped: Reason -> file and place of the first row that was skipped for it.
      dropped_by_label_map: Number of rows with a label that is mapped to "drop".
      notes: Other remarks about the loading, one sentence each, as marked texts (`errors`).
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
        """Returns the report as sentences, one per line, as marked texts (`errors`)."""
        files = self.files[0] if len(self.files) == 1 else f"{len(self.files)} files"
        said = [
            f"{verbatim(files)}, read as {self.format}: {self.rows_read} rows, {self.rows_kept} "
            "kept"
        ]
        for reason, count in self.skipped.items():
            said.append(
                f"{count} rows skipped: {reason} (first: {verbatim(self.first_skipped[reason])})"
            )
        if self.dropped_by_label_map:
            said.append(f"{self.dropped_by_label_map} rows dropped by `label_map`")
        return said + list(self.notes)


@dataclasses.dataclass(frozen=True)
class LoadedCorpus:
    """A corpus and the report of its loading.

    Attributes:
      corpus: The corpus.
      report: The report.
    """

    corpus: Corpus
    report: LoadReport
