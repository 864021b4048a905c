"""JSON Lines, and JSON files that hold one list of objects."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from tff_nlp.corpora import columns, rows
from tff_nlp.corpora.files import DataFile
from tff_nlp.corpora.lines import is_decodable, read_lines
from tff_nlp.corpora.rows import BadRow, ReadNotes, Row
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.errors import UserError


def read_json_lines(
    file: DataFile, source: CorpusSource, notes: ReadNotes
) -> Iterator[Row | BadRow]:
    """Yields the rows of a JSON Lines file: one object, or one list, on each line."""
    name = str(file)
    make_row = _row_maker(file, source, notes)
    with file.open() as stream:
        for number, line in enumerate(read_lines(stream, name, source.encodings, notes), start=1):
            if not line.strip():
                notes.blank_lines += 1
                continue
            place = f"line {number}"
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                detail = getattr(error, "msg", "nested too deeply")
                reason = rows.MALFORMED_JSON if is_decodable(line) else rows.UNDECODABLE
                yield BadRow(name, place, reason, detail)
            else:
                yield make_row(place, record)


def read_json_list(
    file: DataFile, source: CorpusSource, notes: ReadNotes
) -> Iterator[Row | BadRow]:
    """Yields the rows of a JSON file that holds one list."""
    make_row = _row_maker(file, source, notes)
    records = load_json(file, source, notes)
    if not isinstance(records, list):
        raise UserError(f"{file}: --format=json needs a list of objects; is it --format=jsonl?")
    for number, record in enumerate(records):
        yield make_row(f"item {number}", record)


def load_json(file: DataFile, source: CorpusSource, notes: ReadNotes) -> Any:
    """Returns the value of a whole JSON file.

    Raises:
      UserError: Where the file is no JSON.
    """
    with file.open() as stream:
        text = "".join(read_lines(stream, str(file), source.encodings, notes))
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: malformed JSON: {error}") from error


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
    """Returns the same for given columns."""
    name = str(file)
    wanted = columns.split_text_columns(source.text_column)
    text_of = columns.joined_getter(
        [columns.record_getter("--text_column", column, file) for column in wanted]
    )
    label_of = columns.record_getter("--label_column", source.label_column, file)
    client_of = None
    if source.client_column:
        client_of = columns.record_getter("--client_column", source.client_column, file)

    def make_row(place: str, record: Any) -> Row | BadRow:
        if not isinstance(record, dict | list):
            return BadRow(name, place, rows.MALFORMED_RECORD, "neither an object nor a list")
        text, label = text_of(record), label_of(record)
        if text is None:
            detail = f"--text_column={source.text_column}; the row has {_describe(record)}"
            return BadRow(name, place, rows.EMPTY_TEXT, detail)
        if label is None:
            detail = f"--label_column={source.label_column}; the row has {_describe(record)}"
            return BadRow(name, place, rows.MISSING_LABEL, detail)
        return Row(name, place, text, label, client_of(record) if client_of else None)

    return make_row


def _describe(record: dict[str, Any] | list[Any]) -> str:
    if isinstance(record, list):
        return f"{len(record)} values"
    return f"the keys {', '.join(list(record)[:30])}"
