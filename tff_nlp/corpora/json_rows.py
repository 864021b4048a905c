"""Reads JSON Lines, and files that are one JSON value."""

from collections.abc import Callable, Iterator
from typing import Any

from tff_nlp.corpora import columns, json_values, rows
from tff_nlp.corpora.files import DataFile
from tff_nlp.corpora.lines import is_decodable, read_lines
from tff_nlp.corpora.rows import BadRow, ReadNotes, Row
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.errors import UserError, setting


def read_json_lines(
    file: DataFile, source: CorpusSource, notes: ReadNotes
) -> Iterator[Row | BadRow]:
    """Yields the rows of a JSON Lines file: one object, or one list, on each line."""
    make_row = _row_maker(file, source, notes)
    for place, record in line_records(file, source, notes):
        yield record if isinstance(record, BadRow) else make_row(place, record)


def read_json(file: DataFile, source: CorpusSource, notes: ReadNotes) -> Iterator[Row | BadRow]:
    """Yields the rows of a file that is one JSON value."""
    make_row = _row_maker(file, source, notes)
    value = json_values.load(file, source, notes)
    for place, record in json_values.rows_of(value, source, file, notes):
        yield make_row(place, record)


def line_records(
    file: DataFile, source: CorpusSource, notes: ReadNotes
) -> Iterator[tuple[str, Any]]:
    """Yields the place and the value of each line of a JSON Lines file.

    The value of a line that is not JSON is a `BadRow`.

    Raises:
      UserError: If the file is one JSON value over several lines, or a list of objects on one line.
    """
    name, first = str(file), True
    with file.open() as stream:
        for number, line in enumerate(read_lines(stream, name, source.encodings, notes), start=1):
            if not line.strip():
                notes.blank_lines += 1
                continue
            place = f"line {number}"
            if first and _begins_one_value(line):
                raise UserError(f"{file}: is one JSON value, not one a line: say `format`=json")
            first = False
            try:
                yield place, json_values.parse(line)
            except ValueError as error:
                reason = rows.MALFORMED_JSON if is_decodable(line) else rows.UNDECODABLE
                yield place, BadRow(name, place, reason, getattr(error, "msg", str(error)))


def _begins_one_value(line: str) -> bool:
    """Returns whether a line is the start of a larger JSON value, or a list of objects."""
    if line.strip() in ("[", "{"):
        return True
    if not line.lstrip().startswith("["):
        return False
    try:
        value = json_values.parse(line)
    except ValueError:
        return False
    return bool(value) and isinstance(value[0], dict)


_MakeRow = Callable[[str, Any], Row | BadRow]


def _row_maker(file: DataFile, source: CorpusSource, notes: ReadNotes) -> _MakeRow:
    """Returns the function that turns a place and a parsed JSON value into a row."""
    known = None

    def make_row(place: str, record: Any) -> Row | BadRow:
        nonlocal known
        if known is None:  # The first record shows which keys there are.
            keys = list(record) if isinstance(record, dict) else []
            said = f"the first object has {_describe(record)}" if keys else "a key of its objects"
            known = _known_row_maker(
                file, columns.with_default_columns(source, keys, file, said, notes)
            )
        return known(place, record)

    return make_row


def _known_row_maker(file: DataFile, source: CorpusSource) -> _MakeRow:
    """Returns the same function as `_row_maker` for a source with known columns."""
    name = str(file)
    text_of = text_getter("text_column", file, source)
    second_of = label_of = client_of = None
    if source.second_text_column:
        second_of = text_getter("second_text_column", file, source)
    if source.labelled:
        label_of = columns.record_getter("label_column", source.label_column, file)
    if source.client_column:
        client_of = columns.record_getter("client_column", source.client_column, file)

    def make_row(place: str, record: Any) -> Row | BadRow:
        if not isinstance(record, dict | list):
            return BadRow(name, place, rows.MALFORMED_RECORD, "neither an object nor a list")
        text, label = text_of(record), label_of(record) if label_of else None
        if text is None:
            detail = _absent("text_column", source.text_column, record)
            return BadRow(name, place, rows.EMPTY_TEXT, detail)
        second = second_of(record) if second_of else None
        if second_of and second is None:
            detail = _absent("second_text_column", source.second_text_column, record)
            return BadRow(name, place, rows.EMPTY_SECOND_TEXT, detail)
        if label_of and label is None:
            detail = _absent("label_column", source.label_column, record)
            return BadRow(name, place, rows.MISSING_LABEL, detail)
        client = client_of(record) if client_of else None
        return Row(name, place, text, label, client, second)

    return make_row


def text_getter(flag: str, file: DataFile, source: CorpusSource) -> columns.Getter:
    """Returns the getter of a text in a JSON value.

    Args:
      flag: "text_column" or "second_text_column".
      file: The file.
      source: The flags.
    """
    return columns.joined_getter(
        [
            columns.record_getter(flag, column, file)
            for column in columns.split_text_columns(getattr(source, flag))
        ]
    )


def _absent(flag: str, column: str, record: dict[str, Any] | list[Any]) -> str:
    """Returns why a record has no value in a column."""
    if isinstance(record, dict) and column in record:
        return f"{setting(flag, column)}; it is there, but no text or number"
    alike = columns.like(column, record) if isinstance(record, dict) else []
    hint = f"'{alike[0]}' differs in case only; " if alike else ""
    return f"{setting(flag, column)}; {hint}the row has {_describe(record)}"


def _describe(record: dict[str, Any] | list[Any]) -> str:
    if isinstance(record, list):
        return f"{len(record)} values"
    return f"the keys {', '.join(list(record)[:30])}"
