"""The predictions of a run on its test corpus, as a file that comparisons read."""

import csv
import io
import pathlib
from collections.abc import Sequence

import numpy as np

from tff_nlp import durable_files

_HEADER = ("row", "label", "predicted_label")


def write(
    path: pathlib.Path, labels: np.ndarray, predicted: np.ndarray, names: Sequence[str]
) -> None:
    """Writes a CSV file with a row for each test example. Only the owner may read it.

    Args:
      path: The file.
      labels: True labels, int[examples].
      predicted: Predicted labels, int[examples].
      names: Names of the labels.

    Raises:
      WriteError: If the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_HEADER)
    for row, (label, found) in enumerate(zip(labels, predicted, strict=True)):
        writer.writerow((row, names[label], names[found]))
    durable_files.replace_text(path, text.getvalue())


def read_right(path: pathlib.Path) -> np.ndarray:
    """Returns whether each prediction was right, bool[examples], from the file of `write`."""
    with path.open(encoding="utf-8", newline="") as file:
        return np.array([row["label"] == row["predicted_label"] for row in csv.DictReader(file)])
