"""The values of the corpus flags, checked: what to read, and how."""

import codecs
import dataclasses
import functools
import json
from collections.abc import Mapping

from tff_nlp.errors import UserError, setting

FORMATS = (
    "auto",
    "csv",
    "tsv",
    "jsonl",
    "json",
    "leaf",
    "lines",
    "documents",
    "reviews",
    "speeches",
    "plays",
)
QUOTINGS = ("csv", "none")
BAD_ROWS = ("error", "skip")
MISSING_CLIENTS = ("bad_row", "own")
DROP = "drop"
# Mean ratings go from -4 to 4. Between these two bounds, people disagreed or saw no sentiment.
NEGATIVE_AT_MOST, POSITIVE_AT_LEAST = -0.5, 0.5
# The values that spreadsheets, pandas, R and databases write for a missing value.
MISSING_VALUES = r"NaN,nan,NA,N/A,#N/A,<NA>,NULL,null,\N"


@dataclasses.dataclass(frozen=True)
class CorpusSource:
    r"""Where a corpus is, and how its rows become texts, labels and clients.

    Each attribute is the value of one flag. An empty string means that the flag was not given. A
    column is given by its header or key, by its number counted from 0, or as a pseudo-column:
    `@file` (file name), `@stem` (file name before its first dot), `@suffix` (file name after its
    last dot) or `@folder` (name of the folder that holds the file).

    Attributes:
      path: `corpus`: a file, a glob, several of these separated by commas, a member of a zip
        (`archive.zip/member.csv`), a LEAF folder, a name in `names.NAMES`, or `tfds:NAME`.
      format: One of `FORMATS`. "auto" decides by the file's extension, and for `.json`
        also by its first lines.
      text_column: Column of the text. Several columns, separated by commas, are
        joined by a blank. Tables and JSON objects have the default "text".
      second_text_column: Column, or columns, of the second text if each row
        is a pair of texts. Empty if each row has one text.
      label_column: Column of the label. Tables and JSON objects have the default
        "label". The report names the default columns that were used.
      client_column: Column of the author, domain or other group. Empty if the
        corpus has no clients. (LEAF files always have users; speeches and plays have speakers.)
      label_map: `label_map`: `from:to,from:to`, or a JSON object if names contain commas. `to`
        may be "drop". `*` means every label that is not listed.
      record_path: Path to the rows of a JSON file: keys, joined by dots.
      missing_values: Values, separated by commas, that mean a missing text,
        label or client. An empty value and JSON's null and NaN always do.
      label_file: One file of labels for each path of `path`, with one label for
        each line of the texts. It is searched beside the text file, then in the working directory.
      header: Whether the first row of a CSV or TSV file names the columns.
      delimiter: One character instead of the format's default. `\t` is a tab.
      quoting: "csv" (RFC 4180 quotes) or "none" (quotes are ordinary characters).
      encoding: One encoding, or several separated by commas that are tried in this
        order on each line. A line that fits none of them is an undecodable row.
      bad_rows: "error" stops at the first row that cannot be used. "skip" skips such
        rows and counts them by reason.
      missing_client: How to handle a row without a value in `client_column`.
        "bad_row" makes it a bad row. "own" makes it a client of its own.
      strip_prefix: Prefix to remove once from the start of each text.
      split: Part of a source with several parts (LEAF folder, TFDS, synthetic): "train",
        "test" or the name of a TFDS split. Empty means the training part.
      data_dir: Folder for the data of a named corpus: `tfds_data_dir` for TFDS (empty means
        TFDS's default), or the folder of `cache_dir` for VADER's ratings.
      negative_at_most: Highest mean VADER rating that counts as negative.
      positive_at_least: Lowest mean VADER rating that counts as positive.
      flag_prefix: "test_" if `path` and `label_file` came from `test_corpus` and
        `test_label_file`. Only error messages use it.
      labelled: Whether labels are read. A language model needs none.
      to_predict: Whether these are texts to predict. `path` is then `file`.

    Raises:
      UserError: If a value is wrong.
    """

    path: str
    format: str = "auto"
    text_column: str = ""
    label_column: str = ""
    client_column: str = ""
    label_map: str = ""
    record_path: str = ""
    missing_values: str = MISSING_VALUES
    label_file: str = ""
    header: bool = True
    delimiter: str = ""
    quoting: str = "csv"
    encoding: str = "utf-8"
    bad_rows: str = "error"
    missing_client: str = "bad_row"
    strip_prefix: str = ""
    split: str = ""
    data_dir: str = ""
    negative_at_most: float = NEGATIVE_AT_MOST
    positive_at_least: float = POSITIVE_AT_LEAST
    flag_prefix: str = ""
    labelled: bool = True
    to_predict: bool = False
    second_text_column: str = ""

    def __post_init__(self) -> None:
        if not self.path:
            raise UserError(f"`{self.corpus_flag}` is needed: a file, a folder or a corpus name")
        _check_choice("format", self.format, FORMATS)
        _check_choice("quoting", self.quoting, QUOTINGS)
        _check_choice("bad_rows", self.bad_rows, BAD_ROWS)
        _check_choice("missing_client", self.missing_client, MISSING_CLIENTS)
        if self.delimiter and len(self.delimiter_character) != 1:
            raise UserError(f"{setting('delimiter', self.delimiter)}: one character is needed")
        if self.delimiter_character in ("\n", "\r", '"'):
            raise UserError("`delimiter`: a line end or a quote cannot separate columns")
        if not self.encodings:
            raise UserError(f"{setting('encoding', self.encoding)}: no encoding is named")
        for encoding in self.encodings:
            _check_encoding(encoding)
        parse_label_map(self.label_map)
        if self.second_text_column and self.second_text_column == self.text_column:
            raise UserError(
                f"{setting('second_text_column', self.second_text_column)}: is `text_column`, too"
            )
        if not self.negative_at_most < self.positive_at_least:
            raise UserError(
                f"`negative_at_most`={self.negative_at_most}: must be below"
                f" `positive_at_least`={self.positive_at_least}"
            )

    @property
    def corpus_flag(self) -> str:
        """The flag that `path` came from."""
        return "file" if self.to_predict else f"{self.flag_prefix}corpus"

    @property
    def label_file_flag(self) -> str:
        """The flag that `label_file` came from."""
        return f"{self.flag_prefix}label_file"

    @property
    def delimiter_character(self) -> str:
        """The delimiter. The flag may write a tab as a backslash and a t."""
        return "\t" if self.delimiter == "\\t" else self.delimiter

    @functools.cached_property
    def missing(self) -> frozenset[str]:
        """The values that mean "missing"."""
        return frozenset(part.strip() for part in self.missing_values.split(",") if part.strip())

    @property
    def encodings(self) -> tuple[str, ...]:
        """The encodings to try on each line, in order."""
        return tuple(part.strip() for part in self.encoding.split(",") if part.strip())


def _check_choice(flag: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"{setting(flag, value)}: must be one of {', '.join(choices)}")


def _check_encoding(name: str) -> None:
    try:
        "a\n".encode(name)
        codecs.lookup(name)
    except (LookupError, ValueError) as error:
        raise UserError(
            f"{setting('encoding', name)}: not a text encoding that Python knows"
        ) from error


def parse_label_map(flag: str) -> Mapping[str, str]:
    """Returns the label map of a flag value, in the order of the flag.

    Args:
      flag: `from:to,from:to`, or a JSON object. An empty string gives an empty map.

    Returns:
      Label in the file -> label name. The name "drop" means that the row is left out.

    Raises:
      UserError: If an entry does not have this form, if a label is mapped twice, or if every label
        is dropped.
    """
    if flag.lstrip().startswith("{"):
        pairs = _json_pairs(flag)
    else:
        pairs = []
        for entry in filter(None, flag.split(",")):
            old, colon, new = entry.rpartition(":")
            if not colon:
                raise UserError(
                    f"{setting('label_map', flag)}: '{entry}' is not of the form from:to"
                )
            pairs.append((old.strip(), new.strip()))
    mapping: dict[str, str] = {}
    for old, new in pairs:
        if not old or not new:
            raise UserError(f"{setting('label_map', flag)}: an entry has an empty side")
        if old in mapping:
            raise UserError(f"{setting('label_map', flag)}: '{old}' is mapped twice")
        mapping[old] = new
    if mapping and all(new == DROP for new in mapping.values()):
        raise UserError(f"{setting('label_map', flag)}: every label is dropped")
    return mapping


def _json_pairs(flag: str) -> list[tuple[str, str]]:
    try:
        pairs = json.loads(flag, object_pairs_hook=list)
    except ValueError as error:
        raise UserError(f"{setting('label_map', flag)}: not a JSON object: {error}") from error
    if not all(isinstance(new, str) for _, new in pairs):
        raise UserError(f"{setting('label_map', flag)}: every label must be mapped to a string")
    return [(old.strip(), new.strip()) for old, new in pairs]
