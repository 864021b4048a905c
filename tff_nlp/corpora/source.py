"""What to read and how: the values of the corpus flags, checked."""

import codecs
import dataclasses
import functools
import json
from collections.abc import Mapping

from tff_nlp.errors import UserError

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
# Mean ratings from -4 to 4; between these two people did not agree, or saw no sentiment.
NEGATIVE_AT_MOST, POSITIVE_AT_LEAST = -0.5, 0.5
# How spreadsheets, pandas, R and databases write that there is no value.
MISSING_VALUES = r"NaN,nan,NA,N/A,#N/A,<NA>,NULL,null,\N"


@dataclasses.dataclass(frozen=True)
class CorpusSource:
    r"""Where a corpus is and how its rows become texts, labels and clients.

    Each attribute is the value of one flag; an empty string means that the flag was not given.
    A column is named by its header or key, by its number counted from 0, or is a pseudo-column:
    `@file` (file name), `@stem` (file name up to its first dot), `@suffix` (after its last dot) or
    `@folder` (name of the folder that holds the file).

    Attributes:
      path: `--corpus`: a file, a glob, several of either separated by commas, a member of a zip
        (`archive.zip/member.csv`), a LEAF folder, a name in `names.NAMES`, or `tfds:NAME`.
      format: `--format`: one of `FORMATS`; "auto" goes by the file's extension, and for `.json` by
        its first lines.
      text_column: `--text_column`: column of the text; several separated by commas are joined by a
        blank. Without it, and without `--label_column`, tables and JSON objects are read by
        columns of exactly the names "text" and "label", and the report says so.
      label_column: `--label_column`.
      client_column: `--client_column`: author, domain or other group; the corpus has none
        without it (a LEAF corpus always has its users, speeches and plays their speakers).
      label_map: `--label_map`: `from:to,from:to`, or the same as a JSON object where names hold
        commas; `to` may be "drop", `*` stands for every label that is not listed.
      record_path: `--record_path`: keys, joined by dots, that lead to the rows of a JSON file.
      missing_values: `--missing_values`: values, separated by commas, that mean none, whether of a
        text, a label or a client; an empty value and JSON's null and NaN always do.
      label_file: `--label_file`: one file of labels for each path of `path`, line by line beside
        the texts; sought first beside the text file, then from the working directory.
      header: `--header`: whether the first row of a CSV or TSV file names the columns.
      delimiter: `--delimiter`: one character instead of the format's own; `\t` is a tab.
      quoting: `--quoting`: "csv" (RFC 4180 quotes) or "none" (quotes are ordinary characters).
      encoding: `--encoding`: one encoding, or several separated by commas that are tried in that
        order on each line. A line that fits none is an undecodable row.
      bad_rows: `--bad_rows`: "error" stops at the first row that cannot be used, "skip" drops such
        rows and counts them by reason.
      missing_client: `--missing_client`: a row without a value in `client_column` is a "bad_row",
        or becomes a client of its "own"; rows without an author never form one big client.
      strip_prefix: `--strip_prefix`: removed once from the start of each text that has it.
      split: `--split`: for sources that hold several (LEAF folder, TFDS, synthetic): "train",
        "test" or the TFDS split's name; empty means the training part.
      data_dir: Where a corpus that is loaded by name keeps its data: `--tfds_data_dir` (empty
        means TFDS's own default), and of VADER's ratings the folder of `--cache_dir`.
      negative_at_most: `--negative_at_most`: highest mean rating of VADER's that is negative.
      positive_at_least: `--positive_at_least`: lowest mean rating of VADER's that is positive.
      flag_prefix: "test_" when `path` and `label_file` came from `--test_corpus` and
        `--test_label_file`; only error messages use it.
      labelled: Whether labels are read. A language model needs none.
      to_predict: Whether these are texts to predict; `path` is then `--file`.
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

    def __post_init__(self) -> None:
        if not self.path:
            raise UserError(f"{self.corpus_flag} is needed: a file, a folder or a corpus name")
        _check_choice("--format", self.format, FORMATS)
        _check_choice("--quoting", self.quoting, QUOTINGS)
        _check_choice("--bad_rows", self.bad_rows, BAD_ROWS)
        _check_choice("--missing_client", self.missing_client, MISSING_CLIENTS)
        if self.delimiter and len(self.delimiter_character) != 1:
            raise UserError(f"--delimiter={self.delimiter}: one character is needed")
        if self.delimiter_character in ("\n", "\r", '"'):
            raise UserError("--delimiter: a line end or a quote cannot separate columns")
        if not self.encodings:
            raise UserError(f"--encoding={self.encoding}: no encoding is named")
        for encoding in self.encodings:
            _check_encoding(encoding)
        parse_label_map(self.label_map)
        if not self.negative_at_most < self.positive_at_least:
            raise UserError(
                f"--negative_at_most={self.negative_at_most}: must be below"
                f" --positive_at_least={self.positive_at_least}"
            )

    @property
    def corpus_flag(self) -> str:
        """The flag that `path` came from."""
        return "--file" if self.to_predict else f"--{self.flag_prefix}corpus"

    @property
    def label_file_flag(self) -> str:
        """The flag that `label_file` came from."""
        return f"--{self.flag_prefix}label_file"

    @property
    def delimiter_character(self) -> str:
        """The delimiter itself, where the flag may spell a tab as backslash and t."""
        return "\t" if self.delimiter == "\\t" else self.delimiter

    @functools.cached_property
    def missing(self) -> frozenset[str]:
        """The values that mean none."""
        return frozenset(part.strip() for part in self.missing_values.split(",") if part.strip())

    @property
    def encodings(self) -> tuple[str, ...]:
        """The encodings to try on each line, in order."""
        return tuple(part.strip() for part in self.encoding.split(",") if part.strip())


def _check_choice(flag: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"{flag}={value}: must be one of {', '.join(choices)}")


def _check_encoding(name: str) -> None:
    try:
        "a\n".encode(name)
        codecs.lookup(name)
    except (LookupError, ValueError) as error:
        raise UserError(f"--encoding={name}: not a text encoding that Python knows") from error


def parse_label_map(flag: str) -> Mapping[str, str]:
    """Returns the label map of a flag value, in the order it was written.

    Args:
      flag: `from:to,from:to`, or a JSON object; an empty string is no map.

    Returns:
      From the label in the file to the label name, which is "drop" for rows to leave out.

    Raises:
      UserError: Where an entry is not of that form, or a label is mapped twice.
    """
    if flag.lstrip().startswith("{"):
        pairs = _json_pairs(flag)
    else:
        pairs = []
        for entry in filter(None, flag.split(",")):
            old, colon, new = entry.rpartition(":")
            if not colon:
                raise UserError(f"--label_map={flag}: '{entry}' is not of the form from:to")
            pairs.append((old.strip(), new.strip()))
    mapping: dict[str, str] = {}
    for old, new in pairs:
        if not old or not new:
            raise UserError(f"--label_map={flag}: an entry has an empty side")
        if old in mapping:
            raise UserError(f"--label_map={flag}: '{old}' is mapped twice")
        mapping[old] = new
    if mapping and all(new == DROP for new in mapping.values()):
        raise UserError(f"--label_map={flag}: every label is dropped")
    return mapping


def _json_pairs(flag: str) -> list[tuple[str, str]]:
    try:
        pairs = json.loads(flag, object_pairs_hook=list)
    except ValueError as error:
        raise UserError(f"--label_map={flag}: not a JSON object: {error}") from error
    if not all(isinstance(new, str) for _, new in pairs):
        raise UserError(f"--label_map={flag}: every label must be mapped to a string")
    return [(old.strip(), new.strip()) for old, new in pairs]
