"""The picture of a matrix of attacks and aggregators."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tff_nlp.clients import picture
from tff_nlp.program import pictures
from tff_nlp.runs import cells as runs


def draw(
    cells: Mapping[str, Mapping[str, Mapping[str, Any]]], path: pathlib.Path, *, title: str
) -> None:
    """Draws a shaded table: a row for each attack, a column for each aggregator.

    Args:
      cells: Attack -> aggregator -> "score" and perhaps "backdoor_success"; or "refused" or
        "diverged".
      path: Path of the PNG file.
      title: Title of the picture.
    """
    columns = [name.replace("_", " ") for name in next(iter(cells.values()))]
    rows = [name.replace("_", " ") for name in cells]
    scores = np.array(
        [[cell.get("score", np.nan) for cell in row.values()] for row in cells.values()]
    )
    figure = Figure(
        figsize=(2.5 + 1.05 * len(columns), 1.9 + 0.55 * len(rows)), layout="constrained"
    )
    axes = figure.subplots()
    # Grey levels, so that print keeps them; the numbers say the same.
    image = axes.imshow(scores, cmap="Greys_r", aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    axes.set(xlabel="aggregator", ylabel="attack", title=picture.wrapped(title, 60))
    low, high = np.nanmin(scores), np.nanmax(scores)
    for i, row in enumerate(cells.values()):
        for j, cell in enumerate(row.values()):
            bright = "score" not in cell or cell["score"] > (low + high) / 2
            text = runs.outcome(cell)
            if "backdoor_success" in cell:
                text += f"\n({cell['backdoor_success']:.2f})"
            axes.text(
                j,
                i,
                text,
                ha="center",
                va="center",
                color="black" if bright else "white",
                fontsize=9,
            )
    label = "test score"
    if any("backdoor_success" in cell for row in cells.values() for cell in row.values()):
        label += "\n(in brackets: success of the backdoor)"
    figure.colorbar(image, label=label, shrink=0.9)
    pictures.save(figure, path)
