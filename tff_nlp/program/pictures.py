"""Curves and confusion matrices as PNG."""

import pathlib
import warnings
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np

from tff_nlp.program import run_directory

matplotlib.use("Agg")

from matplotlib import pyplot as plt  # noqa: E402


# Beyond these numbers of labels a confusion matrix has no names, and no counts, on it.
_NAMED_LABELS, _COUNTED_LABELS = 40, 20
_LARGEST = 12  # inches


def draw_curves(
    rows: Sequence[Mapping[str, str]], path: pathlib.Path, *, title: str, majority: float
) -> None:
    """Draws loss and accuracy over rounds.

    Args:
      rows: Rows of metrics.csv; empty cells are left out.
      path: The PNG.
      title: Of the picture.
      majority: Accuracy of always predicting the most frequent label, drawn as a line.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for column, label in (("train_loss", "clients, while training"), ("test_loss", "test")):
        _curve(left, rows, column, label)
    left.set(xlabel="round", ylabel="cross-entropy (nats)")
    for column, label in (
        ("train_accuracy", "clients, while training"),
        ("test_accuracy", "test"),
        ("clients_mean_accuracy", "mean over clients"),
        ("clients_worst_decile_accuracy", "worst tenth of the clients"),
        ("held_out_mean_accuracy", "mean over held-out clients"),
    ):
        _curve(right, rows, column, label)
    right.axhline(majority, color="grey", linestyle=":", label="most frequent label")
    right.set(xlabel="round", ylabel="accuracy")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(fontsize="small")
    figure.suptitle(_plain(title))
    _save(figure, path)


def draw_confusion(
    confusion: Sequence[Sequence[int]],
    label_names: Sequence[str],
    path: pathlib.Path,
    *,
    title: str,
) -> None:
    """Draws a confusion matrix, shaded by the share of each true label.

    Args:
      confusion: Row i, column j: examples of label i predicted as j.
      label_names: Names in label order.
      path: The PNG.
      title: Of the picture.
    """
    counts = np.asarray(confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = min(max(3.5, 1.5 + 0.7 * len(counts)), _LARGEST)
    figure, axes = plt.subplots(figsize=(size + 1, size), layout="constrained")
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true", title=_plain(title))
    if len(counts) <= _NAMED_LABELS:
        places = range(len(counts))
        names = [_plain(name) for name in label_names]
        axes.set_xticks(places, names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(places, names)
    if len(counts) <= _COUNTED_LABELS:
        for (i, j), count in np.ndenumerate(counts):
            colour = "white" if shares[i, j] > 0.5 else "black"
            axes.text(j, i, f"{count:,}", ha="center", va="center", color=colour)
    figure.colorbar(image, label="share of the true label")
    _save(figure, path)


def _curve(axes: plt.Axes, rows: Sequence[Mapping[str, str]], column: str, label: str) -> None:
    points = [(int(row["round"]), float(row[column])) for row in rows if row.get(column)]
    if points:
        marker = "o" if len(points) <= 30 else None
        axes.plot(*zip(*points, strict=True), label=label, marker=marker, markersize=3)


def _plain(name: str) -> str:
    """Returns a name of bearable length that matplotlib does not read as a formula."""
    name = name if len(name) <= 60 else name[:59] + "…"
    return name.replace("$", r"\$")


def _save(figure: plt.Figure, path: pathlib.Path) -> None:
    temporary = path.with_suffix(".partial")
    with run_directory.writing(path), warnings.catch_warnings():
        # Names in scripts that matplotlib's own font lacks are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(temporary, format="png", dpi=120)
        temporary.rename(path)
    plt.close(figure)
