"""Reads CSV and TSV files."""

import csv
import dataclasses
import itertools
import re
from collections.abc import Iterator
from typing import IO

from tff_nlp.corpora import columns, rows
from tff_nlp.corpora.files import DataFile
from tff_nlp.corpora.lines import read_lines, strip_line_end
from tff_nlp.corpora.rows import BadRow, ReadNotes, Row
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.errors import UserError

# A field may be as long as the file: a review of 200,000 characters is not an error.
_FIELD_LIMIT = 2**31 - 1

# Excel's line before the header that gives the delimiter.
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\r?\n?', re.IGNORECASE)

# The number of the record's first line, and the record's fields or a bad row.
Record = tuple[int, list[str] | BadRow]


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """A table that is being read.

    Attributes:
      delimiter: Character that separates the columns.
      names: Names of the columns, or their numbers if the file has no header.
      header: The first row, if it names the columns, else None.
      records: The other rows: a field for each column, or a bad row.
    """

    delimiter: str
    names: list[str]
    header: list[str] | None
    records: Iterator[Record]


def read_table(
    file: DataFile, source: CorpusSource, format_name: str, notes: ReadNotes
) -> Iterator[Row | BadRow]:
    """Yields the rows of a CSV or TSV file.

    Args:
      file: The file.
      source: Column flags, header, delimiter, quoting and encodings.
      format_name: "csv" or "tsv". It gives the delimiter if neither a flag nor the file does.
      notes: Receives remarks about the reading.

    Raises:
      UserError: If a column does not exist, if a quote never closes, or if a label also occurs in
        the header.
    """
    name = str(file)
    with file.open() as stream:
        table = open_table(stream, file, source, format_name, notes)
        if table is None:
            return
        known = columns.describe(table.names)
        source = columns.with_default_columns(source, table.names, file, known, notes)
        text = text_getter("text_column", file, source, table.names)
        second = None
        if source.second_text_column:
            second = text_getter("second_text_column", file, source, table.names)
        label, client = _getters(file, source, table.names)
        header_label = None
        if label and table.header is not None and not source.label_column.startswith("@"):
            header_label = label(table.header)
        for start, fields in table.records:
            if isinstance(fields, BadRow):
                yield fields
                continue
            place, value = f"line {start}", label(fields) if label else None
            if value and value == header_label:
                raise UserError(
                    f"{file}, {place}: the label '{value}' is also in the header; if the"
                    " first row is data, say `header`=false"
                )
            author = client(fields) if client else None
            second_text = second(fields) if second else None
            yield Row(name, place, text(fields), value, author, second_text)


def open_table(
    stream: IO[bytes], file: DataFile, source: CorpusSource, format_name: str, notes: ReadNotes
) -> Table | None:
    """Returns the table in a stream, or None if the stream is empty.

    Raises:
      UserError: If the first row cannot be read.
    """
    delimiter = source.delimiter_character
    lines = read_lines(stream, str(file), source.encodings, notes)
    skipped, first_line = 0, next(lines, None)
    if first_line is None:
        return None
    if declared := _SEPARATOR_LINE.fullmatch(first_line):
        delimiter, skipped = delimiter or declared[1], 1
    else:
        lines = itertools.chain([first_line], lines)
    delimiter = delimiter or {"csv": ",", "tsv": "\t"}[format_name]
    if source.quoting == "none":
        records = _unquoted_records(lines, delimiter, skipped, notes)
    else:
        records = _quoted_records(lines, file, delimiter, skipped, notes)
    first = next(records, None)
    if first is None:
        return None
    fields = first[1]
    if isinstance(fields, BadRow):
        raise UserError(f"{file}, {fields.place}: {fields.reason}: {fields.detail}")
    if source.header:
        names, header = [name.strip() for name in fields], fields
    else:
        names, header = [str(number) for number in range(len(fields))], None
        records = itertools.chain([first], records)
    return Table(delimiter, names, header, _of_width(len(names), records, str(file)))


def text_getter(
    flag: str, file: DataFile, source: CorpusSource, names: list[str]
) -> columns.Getter:
    """Returns the getter of a text in a row of a table.

    Args:
      flag: "text_column" or "second_text_column".
      file: The table's file.
      source: The flags.
      names: The columns of the table.
    """
    given = getattr(source, flag)
    wanted = [given] if given in names else columns.split_text_columns(given)
    return columns.joined_getter(
        [columns.table_getter(flag, column, names, file) for column in wanted]
    )


def _getters(
    file: DataFile, source: CorpusSource, names: list[str]
) -> tuple[columns.Getter | None, columns.Getter | None]:
    label = client = None
    if source.labelled:
        label = columns.table_getter("label_column", source.label_column, names, file)
    if source.client_column:
        client = columns.table_getter("client_column", source.client_column, names, file)
    return label, client


def _of_width(width: int, records: Iterator[Record], name: str) -> Iterator[Record]:
    """Yields the records, with a bad row for each record of a wrong width."""
    for start, fields in records:
        if isinstance(fields, list) and len(fields) != width:
            detail = f"{len(fields)} columns instead of {width}"
            yield start, BadRow(name, f"line {start}", rows.COLUMN_COUNT, detail)
        else:
            yield start, fields


def _unquoted_records(
    lines: Iterator[str], delimiter: str, skipped: int, notes: ReadNotes
) -> Iterator[Record]:
    for number, line in enumerate(lines, start=skipped + 1):
        line = strip_line_end(line)
        if line:
            yield number, line.split(delimiter)
        else:
            notes.blank_lines += 1


def _quoted_records(
    lines: Iterator[str], file: DataFile, delimiter: str, skipped: int, notes: ReadNotes
) -> Iterator[Record]:
    csv.field_size_limit(_FIELD_LIMIT)
    # Strict, because the lenient reader joins rows after a stray quote.
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        start = skipped + reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            if "end of data" in str(error):
                raise UserError(
                    f"{file}, line {start}: a quote opens here and never closes; if quotes are"
                    " ordinary characters, say `quoting`=none"
                ) from error
            place = f"line {start}"
            yield start, BadRow(str(file), place, rows.MALFORMED_QUOTES, _explain(error))
            continue
        if fields is None:
            return
        if fields:
            notes.longest_row = max(notes.longest_row, skipped + reader.line_num + 1 - start)
            yield start, fields
        else:
            notes.blank_lines += 1


def _explain(error: csv.Error) -> str:
    if "new-line character" in str(error):
        return "a carriage return outside quotes"
    return f"{error} (if quotes are ordinary characters, say `quoting`=none)"
