"""What every reader yields: one row of the file, or why it is none."""

from typing import NamedTuple

EMPTY_TEXT = "empty text"
MISSING_LABEL = "missing label"
MISSING_CLIENT = "missing client"
UNDECODABLE = "undecodable bytes"
COLUMN_COUNT = "wrong column count"
MALFORMED_QUOTES = "malformed quotes"
MALFORMED_JSON = "malformed JSON"
MALFORMED_RECORD = "malformed record"


class Row(NamedTuple):
    """One example as it stands in the file, before labels are mapped.

    `None` is a value that the row lacks. `client` is also None where no column was asked for.
    """

    file: str
    place: str
    text: str | None
    label: str | None
    client: str | None


class BadRow(NamedTuple):
    """A row that could not be taken apart, with the reason as in the report."""

    file: str
    place: str
    reason: str
    detail: str = ""

    def sentence(self) -> str:
        """Returns what is wrong, for a person who wants no bad rows."""
        detail = f" ({self.detail})" if self.detail else ""
        return (
            f"{self.file}, {self.place}: {self.reason}{detail}; --bad_rows=skip leaves such rows"
            " out"
        )


class ReadNotes:
    """What readers learn on the way and a person should know of; filled while they read.

    Attributes:
      declared_labels: The label names in the order that the data set itself declares, if it does.
      blank_lines: Blank lines that were no rows.
      null_characters: NUL characters that became blanks.
      longest_row: How many lines the longest row spans.
      other_encodings: How many lines needed another than the first encoding.
      record_path: Where a JSON file's rows were found without `--record_path`.
      default_columns: Column flags that were not given, and the columns taken by their names.
      neutral: Which ratings count as neutral, in words.
    """

    def __init__(self) -> None:
        self.declared_labels: tuple[str, ...] = ()
        self.blank_lines = 0
        self.null_characters = 0
        self.longest_row = 1
        self.other_encodings: dict[str, int] = {}
        self.record_path = ""
        self.default_columns: dict[str, str] = {}
        self.neutral = ""

    def lines(self) -> list[str]:
        """Returns one sentence for each thing that happened."""
        said = []
        if self.default_columns:
            flags = " ".join(f"--{flag}={name}" for flag, name in self.default_columns.items())
            said.append(f"taken by the names of the columns: {flags}")
        if self.record_path:
            said.append(
                f"rows taken from the only list of objects: --record_path={self.record_path}"
            )
        if self.neutral:
            said.append(self.neutral)
        for encoding, count in self.other_encodings.items():
            said.append(f"{count} lines decoded as {encoding}")
        if self.blank_lines:
            said.append(f"{self.blank_lines} blank lines ignored")
        if self.null_characters:
            said.append(f"{self.null_characters} NUL characters replaced by blanks")
        if self.longest_row > 1:
            said.append(
                f"line breaks inside quotes were kept: the longest row spans {self.longest_row}"
                " lines (--quoting=none if quotes are ordinary characters)"
            )
        return said
