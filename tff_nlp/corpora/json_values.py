"""Parses JSON values, and finds the rows in a JSON file."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from tff_nlp.corpora import columns
from tff_nlp.corpora.files import DataFile
from tff_nlp.corpora.lines import read_lines
from tff_nlp.corpora.rows import ReadNotes
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.errors import UserError, setting

# By default, Python refuses to parse integers that are much longer.
_MOST_DIGITS = 4000
# Lists of rows are searched down to this depth.
_DEPTH = 4


def parse(text: str) -> Any:
    """Returns a JSON value. NaN and infinity become None; very long integers become texts.

    Raises:
      ValueError: If the text is not JSON. Its `msg` gives the reason.
    """
    try:
        return json.loads(
            text, parse_constant=lambda _: None, parse_int=_parse_int, parse_float=_parse_float
        )
    except RecursionError as error:
        raise json.JSONDecodeError("nested too deeply", text, 0) from error


def load(file: DataFile, source: CorpusSource, notes: ReadNotes) -> Any:
    """Returns the value of a whole JSON file.

    Raises:
      UserError: If the file is not one JSON value.
    """
    with file.open() as stream:
        text = "".join(read_lines(stream, str(file), source.encodings, notes))
    try:
        return parse(text)
    except ValueError as error:
        if _first_lines_are_values(text):
            raise UserError(
                f"{file}: holds a JSON value on each line, not one alone: say `format`=jsonl"
            ) from error
        raise UserError(f"{file}: malformed JSON: {error}") from error


def kind(file: DataFile, source: CorpusSource) -> str:
    """Returns "json" if the file is one JSON value, and "jsonl" if each line is a value."""
    lines = []
    with file.open() as stream:
        for line in read_lines(stream, str(file), source.encodings, ReadNotes()):
            if line.strip():
                lines.append(line)
            if len(lines) == 2:
                break
    first = lines[0].strip() if lines else ""
    if len(lines) == 2:
        # If the first line is damaged, the second line can still show that this is JSON Lines.
        one_a_line = _is_value(first) or (first not in ("[", "{") and _is_value(lines[1]))
        return "jsonl" if one_a_line else "json"
    # The only line: a list of plain values is one row. Any other value holds rows.
    value = parse(first) if _is_value(first) else []
    is_row = isinstance(value, list) and value and not isinstance(value[0], dict | list)
    return "jsonl" if is_row else "json"


def rows_of(
    value: Any, source: CorpusSource, file: DataFile, notes: ReadNotes
) -> Iterator[tuple[str, Any]]:
    """Yields the place and the value of each row of a JSON file.

    The rows are the items of a list: the file itself, the list at `record_path`, or the only list
    of objects in the file. They may also be the values of an object of objects. An object of
    columns is transposed; its columns are lists, or objects with the same keys, as pandas writes
    them.

    Raises:
      UserError: If there are no rows, or several lists of rows.
    """
    if source.record_path:
        found = columns.look_up(value, source.record_path)
        if not isinstance(found, list | Mapping):
            raise UserError(
                f"{setting('record_path', source.record_path)}: {file} holds nothing there;"
                f" {_describe(value, file)}"
            )
        value = found
    if isinstance(value, list):
        return ((f"item {number}", row) for number, row in enumerate(value))
    if not isinstance(value, Mapping):
        raise UserError(f"{file}: holds neither a list nor an object")
    return _rows_of_object(value, source, file, notes)


def _rows_of_object(
    value: Mapping[str, Any], source: CorpusSource, file: DataFile, notes: ReadNotes
) -> Iterator[tuple[str, Any]]:
    wanted = (columns.split_text_columns(source.text_column) or [columns.TEXT])[0]
    held = value.get(wanted)
    if isinstance(held, Mapping | list):
        return _transposed(value, wanted, file)
    if held is not None:
        return iter([("the only object", value)])
    if _is_split(value):
        names = [str(name) for name in value["columns"]]
        return (
            (
                f"item {number}",
                dict(zip(names, row, strict=False)) if len(row) == len(names) else row,
            )
            for number, row in enumerate(value["data"])
        )
    objects = [item for item in value.values() if isinstance(item, Mapping)]
    whole = len(objects) == len(value) > 0
    if whole and any(columns.look_up(item, wanted) is not None for item in objects[:10]):
        return ((f"key '{key}'", row) for key, row in value.items())
    paths = list(_lists_of_objects(value, "", _DEPTH))
    fitting = [path for path in paths if wanted in columns.look_up(value, path)[0]]
    paths = fitting if len(fitting) == 1 else paths
    if len(paths) > 1:
        raise UserError(
            f"{file}: holds several lists of objects; say which with `record_path`:"
            f" {', '.join(paths[:10])}"
        )
    if paths:
        notes.record_path = paths[0]
        rows = columns.look_up(value, paths[0])
        return ((f"item {number} of {paths[0]}", row) for number, row in enumerate(rows))
    if whole:
        return ((f"key '{key}'", row) for key, row in value.items())
    raise UserError(f"{file}: {_describe(value, file)}, and no list of objects")


def _transposed(value: Mapping[str, Any], wanted: str, file: DataFile) -> Iterator[tuple[str, Any]]:
    """Yields the rows of an object that has one list, or one object, per column."""
    kinds = {type(column) for column in value.values()}
    if len(kinds) > 1 or len({len(column) for column in value.values()}) > 1:
        raise UserError(
            f"{file}: '{wanted}' holds a list or an object, but not every column one of its length"
        )
    if isinstance(value[wanted], list):
        lists = value.values()
        for number, row in enumerate(zip(*lists, strict=True)):
            yield f"item {number}", dict(zip(value, row, strict=True))
    else:
        for key in value[wanted]:
            yield f"key '{key}'", {name: column.get(key) for name, column in value.items()}


def _is_split(value: Mapping[str, Any]) -> bool:
    """Returns whether an object has pandas' format "split": column names, and a list per row."""
    names, data = value.get("columns"), value.get("data")
    return (
        isinstance(names, list)
        and isinstance(data, list)
        and all(isinstance(row, list) for row in data)
    )


def _lists_of_objects(value: Mapping[str, Any], path: str, depth: int) -> Iterator[str]:
    for key, item in value.items():
        here = f"{path}.{key}" if path else key
        if isinstance(item, list) and item and all(isinstance(row, Mapping) for row in item[:10]):
            yield here
        elif isinstance(item, Mapping) and depth:
            yield from _lists_of_objects(item, here, depth - 1)


def _describe(value: Any, file: DataFile) -> str:
    if isinstance(value, Mapping):
        return f"it is an object with the keys {', '.join(list(map(str, value))[:20])}"
    return "it is not an object"


def _parse_int(digits: str) -> int | str:
    return int(digits) if len(digits) <= _MOST_DIGITS else digits


def _parse_float(digits: str) -> float | None:
    value = float(digits)
    return value if math.isfinite(value) else None


def _is_value(line: str) -> bool:
    """Returns whether a line is an object or a list."""
    try:
        return isinstance(parse(line), dict | list)
    except ValueError:
        return False


def _first_lines_are_values(text: str) -> bool:
    first, _, rest = text.strip().partition("\n")
    return bool(rest) and _is_value(first) and _is_value(rest.partition("\n")[0])
