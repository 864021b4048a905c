"""Curves and confusion matrices as PNG."""

import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tff_nlp import durable_files
from tff_nlp.clients import picture

# Distinguishable for colour-blind readers (Okabe and Ito 2008).
_BLUE, _ORANGE, _GREEN, _RED, _PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
# By column: name, colour, style and marker of the line, so that lines differ in grey, too.
_LOSSES = {
    "train_loss": ("while training", _BLUE, "-", "o"),
    "test_loss": ("test", _ORANGE, "--", "s"),
}
_ACCURACIES = {
    "train_accuracy": ("while training", _BLUE, "-", "o"),
    "test_accuracy": ("test", _ORANGE, "--", "s"),
    "clients_mean_accuracy": ("clients, mean", _GREEN, "-.", "^"),
    "clients_worst_decile_accuracy": ("clients, worst tenth", _RED, ":", "v"),
    "held_out_mean_accuracy": ("held-out clients, mean", _PURPLE, (0, (5, 1, 1, 1)), "D"),
}
# Beyond these numbers of labels a confusion matrix has no names, and no counts, on it.
_NAMED_LABELS, _COUNTED_LABELS = 40, 20
_LARGEST = 12  # inches


def draw_curves(
    rows: Sequence[Mapping[str, str]], path: pathlib.Path, *, title: str, majority: float
) -> None:
    """Draws loss and accuracy over rounds, or over epochs where the rows have them.

    Args:
      rows: Rows of metrics.csv; empty cells are left out.
      path: The PNG.
      title: Of the picture.
      majority: Accuracy of always predicting the most frequent label, drawn as a line.
    """
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    unit = "epoch" if rows and "epoch" in rows[0] else "round"
    _draw_columns(left, rows, unit, _LOSSES)
    left.set(xlabel=unit, ylabel="cross-entropy (nats)")
    _draw_columns(right, rows, unit, _ACCURACIES)
    right.axhline(majority, color="grey", linestyle=":", label="most frequent label")
    right.set(xlabel=unit, ylabel="accuracy")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.set_xlim(0, max((float(row[unit]) for row in rows), default=1) * 1.02)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        # Below the axes, where no curve runs.
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.16),
            ncols=2,
            fontsize="small",
            frameon=False,
        )
    figure.suptitle(picture.wrapped(title, 90))
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
    size = min(max(3.5, 2.5 + 0.6 * len(counts)), _LARGEST)
    figure = Figure(figsize=(size + 1.4, size), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="true", title=picture.wrapped(title, int(8 * size)))
    if len(counts) <= _NAMED_LABELS:
        places = range(len(counts))
        names = [picture.short_name(name, 18) for name in label_names]
        axes.set_xticks(places, names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(places, names)
    if len(counts) <= _COUNTED_LABELS:
        for (i, j), count in np.ndenumerate(counts):
            colour = "white" if shares[i, j] > 0.5 else "black"
            axes.text(j, i, f"{count:,}", ha="center", va="center", color=colour)
    figure.colorbar(image, label="share of the true label", shrink=0.8)
    _save(figure, path)


def _draw_columns(
    axes: Axes,
    rows: Sequence[Mapping[str, str]],
    unit: str,
    columns: Mapping[str, tuple[str, str, Any, str]],
) -> None:
    for column, (label, colour, style, marker) in columns.items():
        points = [(float(row[unit]), float(row[column])) for row in rows if row.get(column)]
        if points:
            x, y = zip(*points, strict=True)
            axes.plot(x, y, color=colour, linestyle=style, label=label, marker=marker, markersize=4)
            axes.lines[-1].set_markevery(max(1, len(points) // 20))


def _save(figure: Figure, path: pathlib.Path) -> None:
    FigureCanvasAgg(figure)
    with durable_files.replacing(path) as file, warnings.catch_warnings():
        # Names in scripts that matplotlib's own font lacks are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(file, format="png", dpi=120)
