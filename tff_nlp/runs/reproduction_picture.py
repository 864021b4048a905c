"""The pictures of a reproduced paper: ours beside the published numbers."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tff_nlp.clients import picture
from tff_nlp.program import pictures

_MOST_CELLS = 40  # More do not fit beside one another.
_WIDE = 50.0  # Largest by smallest number from which a linear axis hides the small ones.


def draw(
    found: Mapping[str, Any], folder: pathlib.Path, before: Mapping[str, Any] | None = None
) -> list[pathlib.Path | None]:
    """Draws a picture for each table that is not exact, and has two numbers or more.

    Args:
      found: The content of reproduction.json.
      folder: Folder for the PNG files.
      before: The content of which the folder has the pictures already; None for no pictures. The
        picture of a table that is still the same is not drawn again.

    Returns:
      The path of each table's picture; None for a table without one.
    """
    paths: list[pathlib.Path | None] = []
    for number, table in enumerate(found["tables"], start=1):
        known = [cell for cell in table["cells"] if cell["ours"] is not None]
        if table["exact"] or not 1 < len(known) <= _MOST_CELLS:
            paths.append(None)
            continue
        path = folder / f"table_{number}.png"
        if before is None or before["tables"][number - 1] != table:
            _draw(table, path)
        paths.append(path)
    return paths


def _draw(table: Mapping[str, Any], path: pathlib.Path) -> None:
    cells = table["cells"]
    figure = Figure(figsize=(max(6.0, 2.5 + 0.45 * len(cells)), 5.0), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(cells))
    ours = [(x, c) for x, c in zip(places, cells, strict=True) if c["ours"] is not None]
    axes.errorbar(
        [x for x, _ in ours],
        [c["ours"] for _, c in ours],
        yerr=[c["standard_deviation"] or 0.0 for _, c in ours],
        fmt="o",
        color=pictures.BLUE,
        capsize=4,
        label="ours, with the standard deviation over seeds",
    )
    published = [(x, c) for x, c in zip(places, cells, strict=True) if c["published"] is not None]
    if published:
        axes.plot(
            [x for x, _ in published],
            [c["published"] for _, c in published],
            "s",
            markersize=8,
            markerfacecolor="none",
            markeredgecolor="black",
            label=table["published"],
        )
    names = [f"{cell['row']}, {cell['column']}" for cell in cells]
    axes.set_xticks(places, names, rotation=40, ha="right", rotation_mode="anchor", fontsize=8)
    for x in range(1, len(cells)):
        if cells[x]["row"] != cells[x - 1]["row"]:
            axes.axvline(x - 0.5, color="lightgrey", linewidth=0.8)
    axes.set(ylabel=table["unit"], title=picture.wrapped(table["title"], 70))
    axes.grid(alpha=0.3, axis="y")
    numbers = [c[key] for c in cells for key in ("ours", "published") if c[key] is not None]
    if min(numbers) > 0 and max(numbers) > _WIDE * min(numbers):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
    # Outside of the axes, where it hides no number.
    figure.legend(loc="outside upper center", ncols=2, fontsize="small", frameon=False)
    axes.margins(y=0.1)
    pictures.save(figure, path)
