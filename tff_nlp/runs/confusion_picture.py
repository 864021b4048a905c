"""The picture of a confusion matrix."""

import pathlib
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from tff_nlp.clients import picture
from tff_nlp.program import pictures

FILE = "confusion.png"
# With more labels than these, the matrix shows no names, or no counts.
_NAMED_LABELS, _COUNTED_LABELS = 40, 20
_LARGEST = 12  # inches


def draw_confusion(
    confusion: Sequence[Sequence[int]],
    label_names: Sequence[str],
    path: pathlib.Path,
    *,
    title: str,
) -> None:
    """Draws a confusion matrix, shaded by the share of each true label.

    Args:
      confusion: Confusion matrix. Row i, column j: number of examples of label i predicted as j.
      label_names: Names of the labels, in their order.
      path: Path of the PNG file.
      title: Title of the picture.
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
    pictures.save(figure, path)
