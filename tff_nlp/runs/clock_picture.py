"""The picture of a run on devices: the test score over rounds, time and bytes."""

import pathlib
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from tff_nlp.clients import picture
from tff_nlp.program import pictures
from tff_nlp.runs import sent_bytes

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86_400.0


def draw(
    rows: Sequence[Mapping[str, str]],
    headline: str,
    path: pathlib.Path,
    *,
    down: int,
    up: int,
    title: str,
) -> None:
    """Draws the headline score over the rounds, the virtual time, and the bytes of all clients.

    Args:
      rows: Rows of metrics.csv, with the columns of `device_rounds.row`.
      headline: The column of the score.
      path: Path of the PNG file.
      down: Bytes to a client that is asked to train.
      up: Bytes from a client whose update arrives.
      title: Title of the picture.
    """
    seconds = [float(row["virtual_seconds"]) for row in rows]
    unit, name = next(
        (size, name)
        for size, name in ((_DAY, "days"), (_HOUR, "hours"), (_MINUTE, "minutes"), (1.0, "seconds"))
        if seconds[-1] >= 2 * size or size == 1.0
    )
    sent = sent_bytes.cumulative(rows, down=down, up=up)
    axes_of = {
        "round": [float(row["round"]) for row in rows],
        f"time on the devices ({name})": [value / unit for value in seconds],
        "bytes to and from all clients (MB)": [value / 1e6 for value in sent],
    }
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    panels = figure.subplots(1, len(axes_of), sharey=True)
    scored = [place for place, row in enumerate(rows) if row.get(headline)]
    scores = [float(rows[place][headline]) for place in scored]
    for axes, (label, values) in zip(panels, axes_of.items(), strict=True):
        axes.plot([values[place] for place in scored], scores, color=pictures.BLUE, marker="o")
        axes.set(xlabel=label)
        axes.set_xlim(0, values[-1] * 1.02)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel(headline.replace("_", " "))
    figure.suptitle(picture.wrapped(title, 100))
    pictures.save(figure, path)
