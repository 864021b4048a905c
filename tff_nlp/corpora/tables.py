"""CSV and TSV files."""

import csv
import itertools
from collections.abc import Iterator
from typing import IO

from tff_nlp.corpora import columns, rows
from tff_nlp.corpora.files import DataFile
from tff_nlp.corpora.lines import read_lines, strip_line_end
from tff_nlp.corpora.rows import BadRow, ReadNotes, Row
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.errors import UserError

# A field may be as long as the file: a review of 200,000 characters is no error.
_FIELD_LIMIT = 2**31 - 1

# The line a record starts on, and its fields, or why it has none.
_Record = tuple[int, list[str] | BadRow]


def read_table(
    file: DataFile, source: CorpusSource, format_name: str, notes: ReadNotes
) -> Iterator[Row | BadRow]:
    """Yields the rows of a CSV or TSV file.

    Args:
      file: The file.
      source: Column flags, header, delimiter, quoting and encodings.
      format_name: "csv" or "tsv", which sets the delimiter where no flag does.
      notes: Counts what happened on the way.

    Raises:
      UserError: Where a column does not exist, or a quote never closes.
    """
    delimiter = source.delimiter_character or {"csv": ",", "tsv": "\t"}[format_name]
    name = str(file)
    with file.open() as stream:
        records = _records(stream, file, source, delimiter, notes)
        first = next(records, None)
        if first is None:
            return
        start, header = first
        if isinstance(header, BadRow):
            raise UserError(f"{file}, {header.place}: {header.reason}: {header.detail}")
        if source.header:
            names = [name.strip() for name in header]
        else:
            names = [str(number) for number in range(len(header))]
        source = columns.with_default_columns(source, names, file, columns.describe(names), notes)
        text, label, client = _getters(file, source, names)
        header_label = None
        if not source.header:
            records = itertools.chain([first], records)
        elif not source.label_column.startswith("@"):
            header_label = label(header)
        for start, fields in records:
            place = f"line {start}"
            if isinstance(fields, BadRow):
                yield fields
            elif len(fields) != len(names):
                detail = f"{len(fields)} columns instead of {len(names)}"
                yield BadRow(name, place, rows.COLUMN_COUNT, detail)
            else:
                value = label(fields)
                if value and value == header_label:
                    raise UserError(
                        f"{file}, {place}: the label '{value}' also stands in the header; if the"
                        " first row is data, say --header=false"
                    )
                author = client(fields) if client else None
                yield Row(name, place, text(fields), value, author)


def _getters(
    file: DataFile, source: CorpusSource, names: list[str]
) -> tuple[columns.Getter, columns.Getter, columns.Getter | None]:
    wanted = [source.text_column]
    if source.text_column not in names:
        wanted = columns.split_text_columns(source.text_column)
    text = columns.joined_getter(
        [columns.table_getter("--text_column", column, names, file) for column in wanted]
    )
    label = columns.table_getter("--label_column", source.label_column, names, file)
    client = None
    if source.client_column:
        client = columns.table_getter("--client_column", source.client_column, names, file)
    return text, label, client


def _records(
    stream: IO[bytes], file: DataFile, source: CorpusSource, delimiter: str, notes: ReadNotes
) -> Iterator[_Record]:
    lines = read_lines(stream, str(file), source.encodings, notes)
    if source.quoting == "none":
        return _unquoted_records(lines, delimiter, notes)
    return _quoted_records(lines, file, delimiter, notes)


def _unquoted_records(lines: Iterator[str], delimiter: str, notes: ReadNotes) -> Iterator[_Record]:
    for number, line in enumerate(lines, start=1):
        line = strip_line_end(line)
        if line:
            yield number, line.split(delimiter)
        else:
            notes.blank_lines += 1


def _quoted_records(
    lines: Iterator[str], file: DataFile, delimiter: str, notes: ReadNotes
) -> Iterator[_Record]:
    csv.field_size_limit(_FIELD_LIMIT)
    # Strict, because the lenient reader glues rows together after a stray quote.
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        start = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            if "end of data" in str(error):
                raise UserError(
                    f"{file}, line {start}: a quote opens here and never closes; if quotes are"
                    " ordinary characters, say --quoting=none"
                ) from error
            place = f"line {start}"
            yield start, BadRow(str(file), place, rows.MALFORMED_QUOTES, _explain(error))
            continue
        if fields is None:
            return
        if fields:
            notes.longest_row = max(notes.longest_row, reader.line_num + 1 - start)
            yield start, fields
        else:
            notes.blank_lines += 1


def _explain(error: csv.Error) -> str:
    if "new-line character" in str(error):
        return "a carriage return outside quotes"
    return f"{error} (if quotes are ordinary characters, say --quoting=none)"
