"""Finds the value that a column flag names: by name, by number, or from the file's path."""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from tff_nlp.corpora.files import DataFile
from tff_nlp.corpora.rows import ReadNotes
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.errors import UserError, setting

PSEUDO_COLUMNS = ("@file", "@stem", "@suffix", "@folder")

# The default `text_column` and `label_column` of files that have columns of these names.
TEXT, LABEL = "text", "label"

# A function that returns the value of a column in a row, or None if the row has no value.
Getter = Callable[[Any], str | None]


def with_default_columns(
    source: CorpusSource, names: Collection[str], file: DataFile, known: str, notes: ReadNotes
) -> CorpusSource:
    """Returns the source with the default columns "text" and "label" where none are given.

    A source without labels needs no label column.

    Args:
      source: The flags.
      names: The columns of the file.
      file: The file, for messages.
      known: A description of the columns, for messages.
      notes: Receives the default columns that are used.

    Raises:
      UserError: If a column is not given, and the file has no column with the default name.
    """
    found: dict[str, Any] = {}
    for flag, default in (("text_column", TEXT), ("label_column", LABEL)):
        if getattr(source, flag) or (flag == "label_column" and not source.labelled):
            continue
        if default not in names:
            alike = like(default, names)
            hint = f": `{flag}`={alike[0]}?" if alike else ""
            raise UserError(f"`{flag}` is needed to read {file}{hint}; {known}")
        found[flag] = notes.default_columns[flag] = default
    return dataclasses.replace(source, **found)


def like(column: str, names: Iterable[str]) -> list[str]:
    """Returns the names that differ from a column's name only in case or blanks."""
    return [name for name in names if name != column and _key(name) == _key(column)]


def pseudo_value(flag: str, column: str, file: DataFile) -> str:
    """Returns the value of a pseudo-column for all rows of a file.

    Args:
      flag: The column flag, for messages.
      column: One of `PSEUDO_COLUMNS`.
      file: The file that is read.

    Raises:
      UserError: If there is no such pseudo-column, or if the file's name has no such part.
    """
    path = file.inner_path
    if column == "@file":
        value = path.name
    elif column == "@stem":
        value = path.name.partition(".")[0]
    elif column == "@suffix":
        value = path.suffix.removeprefix(".")
    elif column == "@folder":
        # A relative path such as "a.txt" contains no folder name, so resolve the path.
        value = path.parent.name if file.member else file.path.resolve().parent.name
    else:
        raise UserError(
            f"{setting(flag, column)}: the pseudo-columns are {', '.join(PSEUDO_COLUMNS)}"
        )
    if not value:
        raise UserError(f"{setting(flag, column)}: {file} has no such part in its name")
    return value


def table_getter(flag: str, column: str, names: Sequence[str], file: DataFile) -> Getter:
    """Returns the getter for one column of a table.

    Args:
      flag: The column flag, for messages.
      column: A name among `names`, a number counted from 0, or a pseudo-column.
      names: The header. If the table has no header: the column numbers as strings.
      file: The table's file.

    Raises:
      UserError: If there is no such column, or several. The message lists the columns.
    """
    if column in names:
        if list(names).count(column) > 1:
            raise UserError(
                f"{setting(flag, column)}: {file} has several columns of that name; number it"
            )
        index = list(names).index(column)
    elif column.startswith("@"):
        constant = pseudo_value(flag, column, file)
        return lambda row: constant
    elif column.isdecimal() and int(column) < len(names):
        index = int(column)
    else:
        alike = "".join(f"; '{name}' differs in case only" for name in like(column, names))
        raise UserError(
            f"{setting(flag, column)}: no such column in {file}{alike}; {describe(names)}"
        )
    return lambda row: row[index].strip()


def record_getter(flag: str, column: str, file: DataFile) -> Getter:
    """Returns the getter for one key of JSON objects, or one position of JSON lists.

    A key of a nested object is written with dots, such as `user.name`.
    """
    if column.startswith("@"):
        constant = pseudo_value(flag, column, file)
        return lambda record: constant
    return lambda record: as_text(look_up(record, column))


def joined_getter(getters: Sequence[Getter]) -> Getter:
    """Returns a getter that joins the values of several columns by blanks, without empty values."""
    if len(getters) == 1:
        return getters[0]
    return lambda row: " ".join(filter(None, (getter(row) for getter in getters))) or None


def split_text_columns(column: str) -> list[str]:
    """Returns the columns that `text_column` names."""
    return [part.strip() for part in column.split(",") if part.strip()]


def describe(names: Sequence[str]) -> str:
    """Returns the list of a table's columns for a message."""
    if len(names) == 1:
        for delimiter in ";\t|,":
            if delimiter in names[0]:
                shown = delimiter.replace("\t", r"\t")
                return (
                    f"its first row, '{_short(names[0], 60)}', is one column: if '{shown}'"
                    f" separates columns, say '{setting('delimiter', shown)}'"
                )
    if all(name == str(number) for number, name in enumerate(names)):
        return f"its columns are 0 to {len(names) - 1} (`header`=false)"
    shown = ", ".join(_short(name, 30) for name in names[:30])
    more = ", ..." if len(names) > 30 else ""
    return f"its columns are {shown}{more} (if these are data, say `header`=false)"


def as_text(value: Any) -> str | None:
    """Returns a JSON value as text: 5.0 becomes "5", true becomes "true", null becomes None."""
    if value is None or isinstance(value, Mapping | list):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def look_up(record: Any, column: str) -> Any:
    """Returns the value at a path of keys, joined by dots, in a JSON value, or None."""
    if isinstance(record, list):
        return record[int(column)] if column.isdecimal() and int(column) < len(record) else None
    if not isinstance(record, Mapping):
        return None
    if column in record:
        return record[column]
    first, dot, rest = column.partition(".")
    return look_up(record.get(first), rest) if dot else None


def _key(name: str) -> str:
    return "".join(name.split()).casefold()


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 3] + "..."
