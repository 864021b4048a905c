"""Reads texts, or pairs of texts, to predict, and keeps the whole rows for the output.

Texts are read in the same way as for training.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tff_nlp.corpora import columns, json_rows, json_values, rows
from tff_nlp.corpora.corpus import Example
from tff_nlp.corpora.files import DataFile
from tff_nlp.corpora.formats import check_second_text, files_and_format
from tff_nlp.corpora.lines import is_decodable, read_lines, strip_line_end
from tff_nlp.corpora.rows import BadRow, ReadNotes
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.corpora.tables import open_table, text_getter
from tff_nlp.errors import UserError, setting

TABLES, JSON, TEXTS = ("csv", "tsv"), ("json", "jsonl"), ("lines", "documents")
FORMATS = ("auto", *TABLES, *JSON, *TEXTS)


@dataclasses.dataclass(frozen=True)
class UnlabelledRow:
    """One row of a file.

    Attributes:
      text: The text, or the first text of a pair. None if it is missing.
      values: The row as in the file: list[str] for a table, a JSON value, or the text.
      second_text: The second text of a pair. None if it is missing.
      is_pair: Whether rows are pairs of texts.
    """

    text: str | None
    values: Any
    second_text: str | None = None
    is_pair: bool = False

    @property
    def example(self) -> Example | None:
        """What a model reads of the row, or None if a text is missing."""
        if not self.is_pair:
            return self.text
        if self.text is None or self.second_text is None:
            return None
        return self.text, self.second_text


@dataclasses.dataclass(frozen=True, eq=False)
class Unlabelled:
    """Texts, or pairs of texts, to predict.

    Attributes:
      format: The format of the files.
      header: The first row of a table if it names the columns, else None.
      delimiter: Character that separates the columns of a table.
      rows: The rows, in their order.
      skipped: Reason -> number of rows that could not be read.
      notes: Other remarks about the reading, one sentence each.
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
    """Returns the rows of texts that do not come from a file."""
    rows = tuple(UnlabelledRow(text.strip() or None, text) for text in texts)
    return Unlabelled("lines", None, "", rows, {}, ())


def from_arguments(texts: Sequence[str], *, pairs: bool) -> Unlabelled:
    """Returns the rows of texts from the command line.

    Args:
      texts: The texts.
      pairs: Whether each two texts form one row.

    Raises:
      UserError: If `pairs` is true and the number of texts is odd.
    """
    if not pairs:
        return from_texts(texts)
    if len(texts) % 2:
        raise UserError(f"{len(texts)} texts are given: the model reads pairs, two texts a row")
    rows = tuple(
        UnlabelledRow(first.strip() or None, f"{first}\t{second}", second.strip() or None, True)
        for first, second in zip(texts[::2], texts[1::2], strict=True)
    )
    return Unlabelled("lines", None, "", rows, {}, ())


def read_unlabelled(source: CorpusSource) -> Unlabelled:
    """Returns the rows of files.

    Args:
      source: The files, and how to read them. `labelled` must be false. With `second_text_column`,
        each row is a pair of texts.

    Raises:
      UserError: If a flag, a file or a row is wrong. With `bad_rows` "skip", wrong rows are
        skipped and counted instead.
    """
    files, format_name = files_and_format(source)
    if format_name not in FORMATS:
        raise UserError(
            f"{setting('file', source.path)}: texts to predict are read from "
            f"{', '.join(FORMATS[1:])}, not from {format_name}"
        )
    check_second_text(source, format_name)
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
    """Reads files of one format. Tables must all have the same header.

    Attributes:
      header: Header of the tables, or None.
      delimiter: Delimiter of the first table.
      notes: Remarks about the reading.
    """

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
        is_pair = bool(self._source.second_text_column)
        for place, row in read(file):
            if isinstance(row, BadRow):
                yield row
            elif not is_decodable(row.text or ""):
                yield BadRow(str(file), place, rows.UNDECODABLE, "in the text")
            elif not is_decodable(row.second_text or ""):
                where = f"in {setting('second_text_column', self._source.second_text_column)}"
                yield BadRow(str(file), place, rows.UNDECODABLE, where)
            else:
                text, second = self._present(row.text), self._present(row.second_text)
                yield dataclasses.replace(row, text=text, second_text=second, is_pair=is_pair)

    def _present(self, text: str | None) -> str | None:
        return None if not text or text in self._source.missing else text

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
            text = text_getter("text_column", file, source, table.names)
            second: columns.Getter = _nothing
            if source.second_text_column:
                second = text_getter("second_text_column", file, source, table.names)
            for start, fields in table.records:
                if isinstance(fields, BadRow):
                    yield f"line {start}", fields
                else:
                    yield f"line {start}", UnlabelledRow(text(fields), fields, second(fields))

    def _check_header(self, header: list[str] | None, file: DataFile) -> None:
        if self._first is None:
            self._first, self.header = file, header
        elif header != self.header:
            raise UserError(f"{file}: its columns are not those of {self._first}")

    def _json(self, file: DataFile) -> Iterator[tuple[str, UnlabelledRow | BadRow]]:
        if self._format == "jsonl":
            records = json_rows.line_records(file, self._source, self.notes)
        else:
            value = json_values.load(file, self._source, self.notes)
            records = json_values.rows_of(value, self._source, file, self.notes)
        getters: tuple[columns.Getter, columns.Getter] | None = None
        for place, record in records:
            if isinstance(record, BadRow):
                yield place, record
            elif not isinstance(record, dict | list):
                detail = "neither an object nor a list"
                yield place, BadRow(str(file), place, rows.MALFORMED_RECORD, detail)
            else:
                getters = getters or self._record_getters(record, file)
                text, second = (getter(record) for getter in getters)
                yield place, UnlabelledRow(text, record, second)

    def _record_getters(
        self, record: dict[str, Any] | list[Any], file: DataFile
    ) -> tuple[columns.Getter, columns.Getter]:
        keys = list(record) if isinstance(record, dict) else []
        known = f"the first row has the keys {', '.join(keys[:30])}"
        source = columns.with_default_columns(self._source, keys, file, known, self.notes)
        second: columns.Getter = _nothing
        if source.second_text_column:
            second = json_rows.text_getter("second_text_column", file, source)
        return json_rows.text_getter("text_column", file, source), second

    def _texts(self, file: DataFile) -> Iterator[tuple[str, UnlabelledRow | BadRow]]:
        if self._source.text_column:
            raise UserError(
                f"{setting('text_column', self._source.text_column)}: {file} is read as plain "
                "text; if it has columns, say `format`=csv or another"
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


def _nothing(_: object) -> None:
    return None
