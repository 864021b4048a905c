"""The picture of a run: the columns of metrics.csv over the rounds."""

import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tff_nlp import durable_files
from tff_nlp.clients import picture

# Distinguishable for colour-blind readers (Okabe and Ito 2008).
BLUE, _ORANGE, _GREEN, _RED, _PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
_SKY = "#56B4E9"
# Colour, style and marker of each line, so that lines also differ in a grey print.
_STYLES: tuple[tuple[str, Any, str], ...] = (
    (BLUE, "-", "o"),
    (_ORANGE, "--", "s"),
    (_GREEN, "-.", "^"),
    (_RED, ":", "v"),
    (_PURPLE, (0, (5, 1, 1, 1)), "D"),
    (_SKY, (0, (1, 1)), "P"),
)


def style(number: int) -> tuple[str, Any, str]:
    """Returns the colour, style and marker of a line. The first 36 lines differ.

    Args:
      number: Number of the line, from 0.
    """
    place, turn = number % len(_STYLES), number // len(_STYLES)
    _, line, marker = _STYLES[(place + turn) % len(_STYLES)]
    return _STYLES[place][0], line, marker


class Curve(Protocol):
    """A line of a panel."""

    @property
    def column(self) -> str:
        """The name of the column of metrics.csv."""

    @property
    def label(self) -> str:
        """The name of the line in the legend."""


class Panel(Protocol):
    """A part of the picture with its own axes."""

    @property
    def quantity(self) -> str:
        """The drawn quantity with its unit, the title of the vertical axis."""

    @property
    def curves(self) -> Sequence[Curve]:
        """The lines, at most six."""

    @property
    def baseline(self) -> str:
        """The name of the baseline in the legend. Empty draws no baseline."""


def draw_curves(
    rows: Sequence[Mapping[str, str]],
    path: pathlib.Path,
    panels: Sequence[Panel],
    *,
    title: str,
    baseline: float,
) -> None:
    """Draws columns of metrics.csv over rounds, or over epochs if there is a column "epoch".

    Args:
      rows: Rows of metrics.csv. Empty cells are left out.
      path: The PNG file.
      panels: The panels from left to right.
      title: Title of the picture.
      baseline: Score of the baseline, a horizontal line in the panels that have a baseline.

    Raises:
      WriteError: If the file cannot be written.
    """
    figure = Figure(figsize=(5 * len(panels), 4.6), layout="constrained")
    unit = "epoch" if rows and "epoch" in rows[0] else "round"
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _draw_panel(axes, rows, unit, panel)
        if panel.baseline:
            axes.axhline(baseline, color="grey", linestyle=":", label=panel.baseline)
        axes.set(xlabel=unit, ylabel=panel.quantity)
        axes.grid(alpha=0.3)
        axes.set_xlim(0, max((float(row[unit]) for row in rows), default=1) * 1.02)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        # Below the axes the legend hides no curve.
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.16),
            ncols=2,
            fontsize="small",
            frameon=False,
        )
    figure.suptitle(picture.wrapped(title, 90))
    save(figure, path)


def _draw_panel(axes: Axes, rows: Sequence[Mapping[str, str]], unit: str, panel: Panel) -> None:
    for curve, (colour, style, marker) in zip(panel.curves, _STYLES, strict=False):
        column = curve.column
        points = [(float(row[unit]), float(row[column])) for row in rows if row.get(column)]
        if points:
            x, y = zip(*points, strict=True)
            axes.plot(
                x, y, color=colour, linestyle=style, label=curve.label, marker=marker, markersize=4
            )
            axes.lines[-1].set_markevery(max(1, len(points) // 20))


def save(figure: Figure, path: pathlib.Path) -> None:
    """Writes a figure as a PNG file. The file is complete or unchanged, also after a crash.

    Raises:
      WriteError: If the file cannot be written.
    """
    FigureCanvasAgg(figure)
    with durable_files.replacing(path) as file, warnings.catch_warnings():
        # Matplotlib's font lacks some scripts. It draws boxes for them, without a warning here.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(file, format="png", dpi=120)
