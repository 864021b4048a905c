"""Reads plain text: one example per line or per file. Labels come from a label file or the path."""

import itertools
from collections.abc import Iterator
from typing import NoReturn

from tff_nlp.corpora.columns import pseudo_value
from tff_nlp.corpora.files import DataFile, expanded
from tff_nlp.corpora.lines import read_lines, strip_line_end
from tff_nlp.corpora.rows import BadRow, ReadNotes, Row
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.errors import UserError, setting


def read_text_lines(
    file: DataFile, source: CorpusSource, notes: ReadNotes
) -> Iterator[Row | BadRow]:
    """Yields one row per line, including blank lines, so that texts and labels stay aligned.

    If labels are read, they come from `label_file`, line by line, or from the file's path, with a
    pseudo-column in `label_column`.

    Raises:
      UserError: If neither or both are given, if the two files have different numbers of lines, or
        if a text column is given.
    """
    _refuse_columns(file, source)
    client = _from_path("client_column", source.client_column, file)
    name = str(file)
    with file.open() as stream:
        texts = enumerate(read_lines(stream, name, source.encodings, notes), start=1)
        if not source.label_file:
            label = _label_from_path(file, source)
            for number, line in texts:
                yield Row(name, f"line {number}", strip_line_end(line).strip(), label, client)
            return
        if source.label_column:
            raise UserError(
                f"{setting('label_column', source.label_column)}: `{source.label_file_flag}` "
                "already gives the labels"
            )
        label_file = find_label_file(file, source)
        with label_file.open() as label_stream:
            labels = read_lines(label_stream, str(label_file), source.encodings, notes)
            for pair in itertools.zip_longest(texts, labels):
                if pair[0] is None or pair[1] is None:
                    _refuse_lengths(file, label_file, source)
                (number, line), label_line = pair
                place = f"line {number}"
                yield Row(name, place, strip_line_end(line).strip(), label_line.strip(), client)


def read_documents(
    file: DataFile, source: CorpusSource, notes: ReadNotes
) -> Iterator[Row | BadRow]:
    """Yields one row: the whole file is the text.

    Raises:
      UserError: If a text column or a label file is given, or if a label column is needed.
    """
    _refuse_columns(file, source)
    if source.label_file:
        raise UserError(f"`{source.label_file_flag}`: `format`=documents takes labels from paths")
    label = _label_from_path(file, source)
    client = _from_path("client_column", source.client_column, file)
    with file.open() as stream:
        text = "".join(read_lines(stream, str(file), source.encodings, notes))
    yield Row(str(file), "the whole file", text.strip(), label, client)


def find_label_file(file: DataFile, source: CorpusSource) -> DataFile:
    """Returns the file of labels that belongs to a file of texts.

    Raises:
      UserError: If there is none, or if it is the file of texts itself.
    """
    flag = source.label_file_flag
    given = [part.strip() for part in source.label_file.split(",") if part.strip()]
    if file.member:
        raise UserError(f"{setting(flag, source.label_file)}: unpack {file.path} first")
    if len(given) > 1 and file.pattern >= len(given):
        raise UserError(
            f"{setting(flag, source.label_file)}: {len(given)} label files for more paths of texts"
        )
    wanted = given[0] if len(given) == 1 else given[file.pattern]
    beside = file.path.parent / wanted
    for path in (beside, expanded(wanted)):
        if path.is_file():
            if path.resolve() == file.path.resolve():
                raise UserError(f"{setting(flag, wanted)}: is the file of texts itself")
            return DataFile(path, flag=flag)
    raise UserError(f"{setting(flag, wanted)}: no such file, neither beside {file} nor here")


def _refuse_lengths(file: DataFile, label_file: DataFile, source: CorpusSource) -> NoReturn:
    counts = []
    for one in (file, label_file):
        with one.open() as stream:
            counts.append(
                sum(1 for _ in read_lines(stream, str(one), source.encodings, ReadNotes()))
            )
    raise UserError(
        f"`{source.label_file_flag}`: {file} has {counts[0]} lines, {label_file} has {counts[1]}"
    )


def _refuse_columns(file: DataFile, source: CorpusSource) -> None:
    if source.text_column:
        raise UserError(
            f"{setting('text_column', source.text_column)}: {file} is read as plain text without "
            "columns; if it has columns, say `format`=tsv or `format`=csv"
        )


def _label_from_path(file: DataFile, source: CorpusSource) -> str | None:
    if not source.labelled:
        return None
    label = _from_path("label_column", source.label_column, file)
    if label is None:
        raise UserError(
            f"`label_column` is needed to read {file}: @suffix, @stem, @file or @folder, or"
            f" `{source.label_file_flag}`"
        )
    return label


def _from_path(flag: str, column: str, file: DataFile) -> str | None:
    return pseudo_value(flag, column, file) if column else None
