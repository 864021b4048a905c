"""Texts to predict, read as training reads them, with all that the file says of each."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tff_nlp.corpora import columns, json_values, rows
from tff_nlp.corpora.files import DataFile
from tff_nlp.corpora.formats import files_and_format
from tff_nlp.corpora.json_rows import line_records
from tff_nlp.corpora.lines import is_decodable, read_lines, strip_line_end
from tff_nlp.corpora.rows import BadRow, ReadNotes
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.corpora.tables import open_table, text_getter
from tff_nlp.errors import UserError

TABLES, JSON, TEXTS = ("csv", "tsv"), ("json", "jsonl"), ("lines", "documents")
FORMATS = ("auto", *TABLES, *JSON, *TEXTS)


@dataclasses.dataclass(frozen=True)
class UnlabelledRow:
    """One row of a file.

    Attributes:
      text: Its text, or None if it has none.
      values: The row as it stands in the file: list[str] of a table, a JSON value, or the text.
    """

    text: str | None
    values: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Unlabelled:
    """Texts to predict.

    Attributes:
      format: What they were read as.
      header: The first row of a table that names its columns, else None.
      delimiter: What separates the columns of a table.
      rows: The rows, in their order.
      skipped: How many could not be read, by reason.
      notes: What else reading did, a sentence each.
    """

    format: str
    header: list[str] | None
    delimiter: str
    rows: tuple[UnlabelledRow, ...]
    skipped: Mapping[str, int]
    notes: tuple[str, ...]

    @property
    def is_table(self) -> bool:
        """Whether the rows are lists of strings."""
        return self.format in TABLES

    @property
    def is_json(self) -> bool:
        """Whether the rows are JSON values."""
        return self.format in JSON


def from_texts(texts: Sequence[str]) -> Unlabelled:
    """Returns texts that come from no file."""
    rows = tuple(UnlabelledRow(text.strip() or None, text) for text in texts)
    return Unlabelled("lines", None, "", rows, {}, ())


def read_unlabelled(source: CorpusSource) -> Unlabelled:
    """Returns the texts of files.

    Args:
      source: The files and how to read them; `labelled` is false.

    Raises:
      UserError: Where a flag, a file or a row is wrong; with `bad_rows` "skip" wrong rows are left
        out and counted instead.
    """
    files, format_name = files_and_format(source)
    if format_name not in FORMATS:
        raise UserError(
            f"--file={source.path}: texts to predict are read from {', '.join(FORMATS[1:])}, not"
            f" from {format_name}"
        )
    reader = _Reader(source, format_name)
    found, skipped = [], dict[str, int]()
    for file in files:
        for row in reader.read(file):
            if isinstance(row, BadRow):
                if source.bad_rows == "error":
                    raise UserError(row.sentence())
                skipped[row.reason] = skipped.get(row.reason, 0) + 1
            else:
                found.append(row)
    return Unlabelled(
        format_name,
        reader.header,
        reader.delimiter,
        tuple(found),
        skipped,
        tuple(reader.notes.lines()),
    )


class _Reader:
    """Reads files of one format, and of one header if they are tables."""

    def __init__(self, source: CorpusSource, format_name: str) -> None:
        self._source = source
        self._format = format_name
        self._first: DataFile | None = None
        self.header: list[str] | None = None
        self.delimiter = ""
        self.notes = ReadNotes()

    def read(self, file: DataFile) -> Iterator[UnlabelledRow | BadRow]:
        """Yields the rows of a file."""
        read = self._texts
        if self._format in TABLES:
            read = self._table
        elif self._format in JSON:
            read = self._json
        for place, row in read(file):
            if isinstance(row, BadRow):
                yield row
            elif row.text is not None and not is_decodable(row.text):
                yield BadRow(str(file), place, rows.UNDECODABLE, "in the text")
            else:
                missing = not row.text or row.text in self._source.missing
                yield dataclasses.replace(row, text=None if missing else row.text)

    def _table(self, file: DataFile) -> Iterator[tuple[str, UnlabelledRow | BadRow]]:
        with file.open() as stream:
            table = open_table(stream, file, self._source, self._format, self.notes)
            if table is None:
                return
            self._check_header(table.header, file)
            self.delimiter = self.delimiter or table.delimiter
            known = columns.describe(table.names)
            source = columns.with_default_columns(
                self._source, table.names, file, known, self.notes
            )
            text = text_getter(file, source, table.names)
            for start, fields in table.records:
                if isinstance(fields, BadRow):
                    yield f"line {start}", fields
                else:
                    yield f"line {start}", UnlabelledRow(text(fields), fields)

    def _check_header(self, header: list[str] | None, file: DataFile) -> None:
        if self._first is None:
            self._first, self.header = file, header
        elif header != self.header:
            raise UserError(f"{file}: its columns are not those of {self._first}")

    def _json(self, file: DataFile) -> Iterator[tuple[str, UnlabelledRow | BadRow]]:
        if self._format == "jsonl":
            records = line_records(file, self._source, self.notes)
        else:
            value = json_values.load(file, self._source, self.notes)
            records = json_values.rows_of(value, self._source, file, self.notes)
        text: columns.Getter | None = None
        for place, record in records:
            if isinstance(record, BadRow):
                yield place, record
            elif not isinstance(record, dict | list):
                detail = "neither an object nor a list"
                yield place, BadRow(str(file), place, rows.MALFORMED_RECORD, detail)
            else:
                text = text or self._record_getter(record, file)
                yield place, UnlabelledRow(text(record), record)

    def _record_getter(self, record: dict[str, Any] | list[Any], file: DataFile) -> columns.Getter:
        keys = list(record) if isinstance(record, dict) else []
        known = f"the first row has the keys {', '.join(keys[:30])}"
        source = columns.with_default_columns(self._source, keys, file, known, self.notes)
        return columns.joined_getter(
            [
                columns.record_getter("--text_column", column, file)
                for column in columns.split_text_columns(source.text_column)
            ]
        )

    def _texts(self, file: DataFile) -> Iterator[tuple[str, UnlabelledRow | BadRow]]:
        if self._source.text_column:
            raise UserError(
                f"--text_column={self._source.text_column}: {file} is read as plain text; if it has"
                " columns, say --format=csv or another"
            )
        with file.open() as stream:
            lines = read_lines(stream, str(file), self._source.encodings, self.notes)
            if self._format == "documents":
                text = "".join(lines)
                yield "the whole file", UnlabelledRow(text.strip(), text)
                return
            for number, line in enumerate(lines, start=1):
                text = strip_line_end(line)
                yield f"line {number}", UnlabelledRow(text.strip(), text)
