"""Reads LEAF JSON: examples grouped by user.

The schema is that of LEAF's `all_data` files: `users`, `num_samples`, and `user_data`, which has
the lists `x` and `y` for each user (Caldas et al. 2018, "LEAF: A Benchmark for Federated
Settings").
"""

import pathlib
from collections.abc import Iterator

from tff_nlp.corpora import json_values, rows
from tff_nlp.corpora.columns import as_text, split_text_columns
from tff_nlp.corpora.files import DataFile, exists
from tff_nlp.corpora.rows import BadRow, ReadNotes, Row
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.errors import UserError, setting


def is_leaf_folder(path: pathlib.Path) -> bool:
    """Returns whether a folder holds `train` and `test` folders."""
    return exists(path) and (path / "train").is_dir() and (path / "test").is_dir()


def leaf_files(path: pathlib.Path, split: str, flag: str) -> tuple[DataFile, ...]:
    """Returns the JSON files of a LEAF folder.

    Args:
      path: A folder with `train` and `test` folders, or a folder of JSON files.
      split: "train" or "test", if the folder has both. Empty means "train".
      flag: The flag that named the folder, for messages.

    Raises:
      UserError: If the split is unknown, or if there are no JSON files.
    """
    if is_leaf_folder(path):
        if split not in ("", "train", "test"):
            raise UserError(
                f"{setting('split', split)}: a LEAF folder has the splits train and test"
            )
        path = path / (split or "train")
    files = sorted(path.glob("*.json")) + sorted(path.glob("*.json.gz"))
    if not files:
        raise UserError(f"{setting(flag, path)}: a folder without LEAF's .json files")
    return tuple(DataFile(file, flag=flag) for file in files)


def read_leaf(file: DataFile, source: CorpusSource, notes: ReadNotes) -> Iterator[Row | BadRow]:
    """Yields the rows of one LEAF file. The client is the user.

    If an example is a list, `text_column` is the position of the text, counted from 0 (4 in
    LEAF's sent140). If an example is the text itself, `text_column` must be empty. The label is
    the example's `y`, so `label_column` must be empty.

    Raises:
      UserError: If the file does not follow the schema, or if a column flag does not fit.
    """
    data = json_values.load(file, source, notes)
    if source.label_column or source.client_column:
        raise UserError("`label_column` and `client_column`: LEAF files fix the label and the user")
    if not isinstance(data, dict) or not isinstance(data.get("user_data"), dict):
        raise UserError(f"{file}: is not a LEAF file: it has no object 'user_data'")
    users = data.get("users", list(data["user_data"]))
    for user in users:
        held = data["user_data"].get(user)
        if not isinstance(held, dict) or not {"x", "y"} <= held.keys():
            raise UserError(f"{file}: user '{user}' has no lists 'x' and 'y' in 'user_data'")
        if len(held["x"]) != len(held["y"]):
            raise UserError(
                f"{file}: user '{user}' has {len(held['x'])} texts and {len(held['y'])} labels"
            )
        for number, (example, label) in enumerate(zip(held["x"], held["y"], strict=True)):
            place = f"user '{user}', example {number}"
            text = _text(file, place, example, source.text_column)
            if text is None:
                yield BadRow(str(file), place, rows.MALFORMED_RECORD, "no text at that position")
            else:
                yield Row(str(file), place, text, as_text(label), str(user).strip())


def _text(file: DataFile, place: str, example: object, column: str) -> str | None:
    if isinstance(example, str):
        if column:
            raise UserError(
                f"{setting('text_column', column)}: {file}, {place} is a text, not a list"
            )
        return example.strip()
    if not isinstance(example, list):
        return None
    positions = split_text_columns(column)
    if not positions or not all(position.isdecimal() for position in positions):
        raise UserError(
            f"{setting('text_column', column)}: {file} holds lists of {len(example)} values; give "
            "the number of the text, counted from 0"
        )
    if any(int(position) >= len(example) for position in positions):
        return None
    return " ".join(as_text(example[int(position)]) or "" for position in positions).strip()
