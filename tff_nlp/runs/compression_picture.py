"""The picture of a comparison of compressions: the score over the bytes that clients sent."""

import pathlib
from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from tff_nlp.clients import picture
from tff_nlp.program import pictures


def draw(found: Mapping[str, Mapping[str, Any]], path: pathlib.Path, *, title: str) -> None:
    """Draws a line for each run.

    Args:
      found: Label -> "curve", (bytes of all clients, score) of the evaluated rounds. A run without
        a curve is left out.
      path: Path of the PNG file.
      title: Title of the picture.
    """
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axes = figure.subplots()
    drawn = {label: entry["curve"] for label, entry in found.items() if "curve" in entry}
    for number, (label, curve) in enumerate(drawn.items()):
        colour, line, marker = pictures.style(number)
        sent, scores = zip(*curve, strict=True)
        axes.plot(
            [value / 1e6 for value in sent],
            scores,
            color=colour,
            linestyle=line,
            marker=marker,
            markersize=4,
            label=label,
        )
    axes.set_xscale("log")
    axes.set(
        xlabel="bytes that all clients sent (MB)",
        ylabel="test score",
        title=picture.wrapped(title, 60),
    )
    axes.grid(alpha=0.3)
    if drawn:
        axes.legend(title="compression", loc="center left", bbox_to_anchor=(1.0, 0.5))
    pictures.save(figure, path)
