"""The picture of the clients' scores before and after they got models of their own."""

import pathlib

from matplotlib.figure import Figure

from tff_nlp.clients import picture
from tff_nlp.program import pictures
from tff_nlp.runs.personal_scores import PersonalScores


def draw(scores: PersonalScores, path: pathlib.Path, *, title: str) -> None:
    """Draws a point per client, and the diagonal, on which nothing changed.

    A client that took part in no round is a circle without a filling.

    Args:
      scores: The scores.
      path: Path of the PNG file.
      title: Title of the picture.

    Raises:
      WriteError: If the file cannot be written.
    """
    figure = Figure(figsize=(5.2, 5.4), layout="constrained")
    axes = figure.subplots()
    for label, filling, members in (
        ("took part", pictures.BLUE, [c for c in scores.clients if c.took_part is not False]),
        ("never took part", "none", [c for c in scores.clients if c.took_part is False]),
    ):
        if members:
            axes.scatter(
                [client.before for client in members],
                [client.after for client in members],
                s=36,
                facecolors=filling,
                edgecolors=pictures.BLUE,
                alpha=0.8,
                label=f"{label}: {len(members)}",
            )
    axes.axline((scores.before.mean,) * 2, slope=1, color="grey", linestyle=":", label="no change")
    name = scores.report.headline
    axes.set(
        xlabel=f"{name}, final model",
        ylabel=f"{name}, own model",
        title=picture.wrapped(title, 45),
    )
    axes.set_aspect("equal", adjustable="datalim")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    pictures.save(figure, path)
