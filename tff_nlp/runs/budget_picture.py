"""The picture of a budget plan: signal-to-noise by cohort size, and by the work of the clients."""

import itertools
import pathlib
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tff_nlp import durable_files
from tff_nlp.privacy import frontier


def draw(
    points: Sequence[frontier.Point], signal_to_noise: float | None, title: str, path: pathlib.Path
) -> None:
    """Draws the points of a plan.

    Args:
      points: The points.
      signal_to_noise: Signal-to-noise ratio that each round must reach; None for no such wish.
      title: Title of the picture.
      path: Path of the PNG file.

    Raises:
      WriteError: If the file cannot be written.
    """
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    by_cohort, by_work = figure.subplots(1, 2)
    _draw_lines(
        by_cohort,
        points,
        lambda point: (point.clients_per_round, point.signal_to_noise),
    )
    _draw_lines(by_work, points, lambda point: (point.work, point.signal_to_noise_of_run))
    best = sorted((point for point in points if point.best), key=lambda point: point.work)
    by_work.plot(
        [point.work for point in best],
        [point.signal_to_noise_of_run for point in best],
        "k--",
        linewidth=1,
        label="most signal for the work",
    )
    if signal_to_noise is not None:
        wish = f"wish: {signal_to_noise:g}"
        by_cohort.axhline(signal_to_noise, color="black", linestyle=":", label=wish)
    by_cohort.set(xlabel="clients per round", ylabel="signal-to-noise of one round")
    by_work.set(xlabel="client updates in the whole run", ylabel="signal-to-noise of the whole run")
    for axes in (by_cohort, by_work):
        axes.set(xscale="log", yscale="log")
        axes.grid(visible=True, which="major", alpha=0.3)
        axes.legend(fontsize="small")
    figure.suptitle(title, fontsize="small")
    with durable_files.replacing(path, private=False) as file:
        figure.savefig(file, format="png", dpi=120)


def _draw_lines(
    axes: Axes,
    points: Sequence[frontier.Point],
    place: Callable[[frontier.Point], tuple[float, float]],
) -> None:
    """Draws a line for each number of rounds.

    Args:
      axes: The axes.
      points: The points of all lines.
      place: Function that returns the x and y of a point.
    """
    # Markers, so that the lines also differ in black and white.
    marked = zip(sorted({point.rounds for point in points}), itertools.cycle("osD^v<>P"))
    for rounds, marker in marked:
        x, y = zip(*(place(point) for point in points if point.rounds == rounds), strict=True)
        axes.plot(x, y, marker=marker, label=f"{rounds:,} rounds")
