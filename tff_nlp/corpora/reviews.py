"""Reads review files of the Multi-Domain Sentiment Dataset (Blitzer, Dredze and Pereira 2007).

They look like XML but are not: they have no root element, and they contain raw ampersands and
control bytes. So this reader finds records and fields by their tags alone. No other data set has
this format.
"""

import re
from collections.abc import Iterator

from tff_nlp.corpora import columns, rows
from tff_nlp.corpora.files import DataFile
from tff_nlp.corpora.lines import read_lines
from tff_nlp.corpora.rows import BadRow, ReadNotes, Row
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.errors import UserError, setting

_FIELD = re.compile(r"<(\w+)>\n(.*?)\n?</\1>", re.DOTALL)


def read_reviews(file: DataFile, source: CorpusSource, notes: ReadNotes) -> Iterator[Row | BadRow]:
    """Yields the rows of a `.review` file. Its columns are the tags of a record.

    Raises:
      UserError: If a column flag is not a tag of the first record, or if the label column is
        missing.
    """
    getters = None
    for place, record in _records(file, source, notes):
        fields = {match[1]: match[2] for match in _FIELD.finditer(record)}
        if not fields:
            yield BadRow(str(file), place, rows.MALFORMED_RECORD, "no fields")
            continue
        if getters is None:
            getters = [
                _getter("text_column", source.text_column or "review_text", fields, file),
                _getter("label_column", source.label_column, fields, file)
                if source.labelled
                else _nothing,
                _getter("client_column", source.client_column, fields, file)
                if source.client_column
                else _nothing,
            ]
        text, label, client = (getter(fields) for getter in getters)
        yield Row(str(file), place, text, label, client)


def _records(file: DataFile, source: CorpusSource, notes: ReadNotes) -> Iterator[tuple[str, str]]:
    """Yields the place and the text of each record."""
    held: list[str] | None = None
    start = 0
    with file.open() as stream:
        for number, line in enumerate(
            read_lines(stream, str(file), source.encodings, notes), start=1
        ):
            tag = line.strip()
            if tag == "<review>":
                held, start = [], number
            elif tag == "</review>" and held is not None:
                yield f"line {start}", "".join(held)
                held = None
            elif held is not None:
                held.append(line.replace("\r\n", "\n"))


def _nothing(_: object) -> None:
    return None


def _getter(flag: str, column: str, fields: dict[str, str], file: DataFile) -> columns.Getter:
    if not column:
        raise UserError(f"`{flag}` is needed to read {file}; its fields are {', '.join(fields)}")
    if not column.startswith("@") and column not in fields:
        raise UserError(
            f"{setting(flag, column)}: no such field in {file}; it has {', '.join(fields)}"
        )
    return columns.record_getter(flag, column, file)
