"""The picture of a comparison of runs: the score over rounds, bytes and seconds."""

import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from tff_nlp.clients import picture
from tff_nlp.program import pictures

if TYPE_CHECKING:
    from tff_nlp.runs.comparison import Group

_AXES = ("rounds or epochs", "bytes to and from all clients (MB)", "seconds of training")
_SCALES = (1.0, 1e6, 1.0)


def draw(groups: "Sequence[Group]", path: pathlib.Path, *, measure: str) -> None:
    """Draws a line for each run, in the style of its group.

    Args:
      groups: The groups.
      path: Path of the PNG file.
      measure: Name of the test score.
    """
    figure = Figure(figsize=(14, 4.6), layout="constrained")
    panels = figure.subplots(1, len(_AXES), sharey=True)
    for place, (axes, label, scale) in enumerate(zip(panels, _AXES, _SCALES, strict=True)):
        for number, group in enumerate(groups):
            colour, line, marker = pictures.style(number)
            for run in group.runs:
                axes.plot(
                    [point[place] / scale for point in run.curve],
                    [point[-1] for point in run.curve],
                    color=colour,
                    linestyle=line,
                    marker=marker,
                    markersize=4,
                    label=picture.wrapped(group.label, 60) if run is group.runs[0] else None,
                )
        axes.set(xlabel=label)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel(f"test {measure}")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    pictures.save(figure, path)
