"""Finds the files that a flag names, and their format."""

import pathlib
import re

from tff_nlp.corpora import json_values, names
from tff_nlp.corpora.files import DataFile, StandardInput, exists, expanded, find_files
from tff_nlp.corpora.leaf import is_leaf_folder, leaf_files
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.errors import UserError, setting, verbatim

# The path that means the standard input.
STANDARD_INPUT = "-"

# Formats that have columns, so that a row may be a pair of texts.
_WITH_COLUMNS = ("csv", "tsv", "json", "jsonl")

_FORMAT_OF_SUFFIX = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".txt": "lines",
    ".review": "reviews",
    ".xml": "plays",
}
_LEAF_START = re.compile(rb'\s*\{\s*"(users|num_samples|user_data|hierarchies)"\s*:')


def files_and_format(source: CorpusSource) -> tuple[tuple[DataFile, ...], str]:
    """Returns the files that a source names, and their format.

    Raises:
      UserError: If there are no files, if they have several formats, or if the format is unknown.
    """
    if source.path == STANDARD_INPUT and source.to_predict:
        format_name = "lines" if source.format == "auto" else source.format
        return (StandardInput(pathlib.Path("-")),), format_name
    path = expanded(source.path)
    if exists(path) and path.is_dir() and source.format in ("auto", "leaf"):
        if is_leaf_folder(path) or source.format == "leaf" or any(path.glob("*.json*")):
            return leaf_files(path, source.split, source.corpus_flag), "leaf"
        raise UserError(
            f"{setting(source.corpus_flag, path)}: is a folder, but not a LEAF folder; name its "
            f"files, for example {verbatim(path)}/*.txt"
        )
    if source.split:
        raise UserError(f"{setting('split', source.split)}: {source.path} has no splits of its own")
    try:
        files = find_files(source.corpus_flag, source.path)
    except UserError as error:
        if "/" in source.path or "." in source.path or source.to_predict:
            raise
        raise UserError(
            f"{error.marked}; the names of corpora are {', '.join(names.NAMES)}"
        ) from error
    formats = {_format_of(file, source) for file in files}
    if len(formats) > 1:
        raise UserError(
            f"{setting(source.corpus_flag, source.path)}: files of several formats"
            f" ({', '.join(sorted(formats))}); say which with `format`"
        )
    format_name = formats.pop()
    if source.record_path and format_name != "json":
        raise UserError(
            f"{setting('record_path', source.record_path)}: only `format`=json has one; this is "
            f"{format_name}"
        )
    return files, format_name


def check_second_text(source: CorpusSource, format_name: str) -> None:
    """Checks that a format can have a second text.

    Raises:
      UserError: If `second_text_column` is given, but the format has no columns.
    """
    if source.second_text_column and format_name not in _WITH_COLUMNS:
        raise UserError(
            f"{setting('second_text_column', source.second_text_column)}: pairs of texts are read "
            f"from {', '.join(_WITH_COLUMNS)}, not from {format_name}"
        )


def _format_of(file: DataFile, source: CorpusSource) -> str:
    if source.format != "auto":
        return source.format
    suffix = file.inner_path.suffix.lower()
    if suffix == ".json":
        return _kind_of_json(file, source)
    if suffix not in _FORMAT_OF_SUFFIX:
        if source.to_predict:
            return "lines"
        raise UserError(
            f"`format` is needed: the name of {file} does not end in"
            f" {', '.join(_FORMAT_OF_SUFFIX)} or .json"
        )
    return _FORMAT_OF_SUFFIX[suffix]


def _kind_of_json(file: DataFile, source: CorpusSource) -> str:
    if source.record_path:
        return "json"
    with file.open() as stream:
        start = stream.read(4096).removeprefix(b"\xef\xbb\xbf")
    return "leaf" if _LEAF_START.match(start) else json_values.kind(file, source)
