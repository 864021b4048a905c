"""The format of text files."""

import dataclasses

from tff_nlp.corpora import source
from tff_nlp.runs.options import option


@dataclasses.dataclass(frozen=True)
class ReadingConfig:
    """Format of text files, for training and prediction."""

    format: str = option("auto", "File format; auto: by the file's extension.", source.FORMATS)
    text_column: str = option("", "Column of the text: its name, or its number from 0.")
    second_text_column: str = option("", "Column of the second text, if a row is a pair of texts.")
    record_path: str = option("", "Path to the rows in a JSON file: keys joined by dots.")
    header: bool = option(True, "Whether a CSV or TSV file names its columns in the first row.")
    delimiter: str = option("", "Character between columns; empty: the default of the format.")
    quoting: str = option(
        "csv", "csv: quotes as in RFC 4180; none: quotes are plain characters.", source.QUOTINGS
    )
    encoding: str = option(
        "utf-8", "Encodings, separated by commas. They are tried on each line in this order."
    )
    missing_values: str = option(
        source.MISSING_VALUES,
        "Values that mean a missing value in any column, separated by commas.",
    )
    bad_rows: str = option(
        "error",
        "What to do with rows that cannot be used. error: stop; skip: skip and count them.",
        source.BAD_ROWS,
    )


@dataclasses.dataclass(frozen=True)
class LabelledReadingConfig(ReadingConfig):
    """Format of text files with labels."""

    label_column: str = option("", "Column of the label, or @file, @stem, @suffix, @folder.")
    label_map: str = option(
        "",
        "New names of labels: from:to,from:to. drop as 'to' removes rows; * as 'from' means all "
        "others.",
    )
    label_file: str = option("", "File with the label of each text, one per line.", path=True)
    strip_prefix: str = option("", "Prefix to remove from each text that starts with it.")
