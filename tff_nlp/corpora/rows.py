"""The values that every reader yields: a row of the file, or a bad row with the reason."""

from typing import NamedTuple

from tff_nlp.errors import setting, verbatim

EMPTY_TEXT = "empty text"
EMPTY_SECOND_TEXT = "empty second text"
MISSING_LABEL = "missing label"
MISSING_CLIENT = "missing client"
UNDECODABLE = "undecodable bytes"
COLUMN_COUNT = "wrong column count"
MALFORMED_QUOTES = "malformed quotes"
MALFORMED_JSON = "malformed JSON"
MALFORMED_RECORD = "malformed record"


class Row(NamedTuple):
    """One example as in the file, before labels are mapped.

    Attributes:
      file: The file.
      place: Place of the row in the file, such as "line 3".
      text: The text, or None if it is missing.
      label: The label, or None if it is missing or if no labels are read.
      client: The client, or None if it is missing or if no clients are read.
      second_text: The second text, or None if it is missing or if rows have one text.
    """

    file: str
    place: str
    text: str | None
    label: str | None
    client: str | None
    second_text: str | None = None


class BadRow(NamedTuple):
    """A row that could not be parsed.

    Attributes:
      file: The file.
      place: Place of the row in the file, such as "line 3".
      reason: The reason, as in the report.
      detail: Details of the reason, as marked text (`errors`), or an empty string.
    """

    file: str
    place: str
    reason: str
    detail: str = ""

    def sentence(self) -> str:
        """Returns the error message for `bad_rows=error`."""
        detail = f" ({self.detail})" if self.detail else ""
        return (
            f"{verbatim(self.file)}, {self.place}: {self.reason}{detail}; `bad_rows`=skip leaves "
            "such rows out"
        )


class ReadNotes:
    """Remarks of the readers for the user. The readers fill them in while they read.

    Attributes:
      declared_labels: The label names in the order that the data set declares. Empty if it declares
        none.
      blank_lines: Number of blank lines that did not count as rows.
      null_characters: Number of NUL characters that were replaced by blanks.
      longest_row: Number of lines of the longest row.
      other_encodings: Encoding -> number of lines that it decoded because the first one failed.
      record_path: Path of the rows that were found in a JSON file without `record_path`.
      default_columns: Column flag that was not given -> default column that was used.
      neutral: A sentence on the ratings that count as neutral.
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
        """Returns the remarks, one sentence each, as marked texts (`errors`)."""
        said = []
        if self.default_columns:
            flags = " ".join(setting(flag, name) for flag, name in self.default_columns.items())
            said.append(f"taken by the names of the columns: {flags}")
        if self.record_path:
            said.append(
                "rows taken from the only list of objects: "
                f"{setting('record_path', self.record_path)}"
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
                " lines (`quoting`=none if quotes are ordinary characters)"
            )
        return said
