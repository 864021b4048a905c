"""The picture of a comparison of runs: the score over rounds, bytes and seconds."""

import pathlib
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from tff_nlp.clients import picture
from tff_nlp.program import pictures

# (rounds, bytes, seconds, score) of the evaluated rounds of a run.
Curve = Sequence[tuple[float, float, float, float]]

_AXES = ("rounds or epochs", "bytes to and from all clients (MB)", "seconds of training")
_SCALES = (1.0, 1e6, 1.0)


def draw(groups: Mapping[str, Sequence[Curve]], path: pathlib.Path, *, measure: str) -> None:
    """Draws a line for each run, in the style of its group.

    Args:
      groups: Label -> the curves of its runs.
      path: Path of the PNG file.
      measure: Name of the test score.
    """
    figure = Figure(figsize=(14, 4.6), layout="constrained")
    panels = figure.subplots(1, len(_AXES), sharey=True)
    for place, (axes, label, scale) in enumerate(zip(panels, _AXES, _SCALES, strict=True)):
        for number, (name, curves) in enumerate(groups.items()):
            colour, line, marker = pictures.style(number)
            for run, curve in enumerate(curves):
                axes.plot(
                    [point[place] / scale for point in curve],
                    [point[-1] for point in curve],
                    color=colour,
                    linestyle=line,
                    marker=marker,
                    markersize=4,
                    label=None if run else picture.wrapped(name, 60),
                )
        axes.set(xlabel=label)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel(f"test {measure}")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    pictures.save(figure, path)
