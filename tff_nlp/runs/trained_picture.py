"""The picture of several trainings: their test scores over the rounds."""

import pathlib
from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from tff_nlp import errors
from tff_nlp.clients import picture
from tff_nlp.program import pictures
from tff_nlp.runs.train import Trained


def draw(results: Mapping[str, Trained], path: str | pathlib.Path, *, title: str) -> None:
    """Draws the test scores of trainings of the same task, a line for each training.

    The lines also differ in black and white. A grey line is the score of a model that does not read
    the texts.

    Args:
      results: Label -> the result of `train` with a test corpus.
      path: Path of the PNG file.
      title: Title of the picture.

    Raises:
      UserError: If there are no results, or one of them has no scores.
      WriteError: If the file cannot be written.
    """
    for name, trained in results.items():
        if "test" not in trained.scores:
            raise errors.UserError(f"`test`: {name} was trained without a test corpus")
    if not results:
        raise errors.UserError(f"{path}: there are no results to draw")
    first = next(iter(results.values()))
    report = first.learner.task.report
    column = f"test_{report.headline}"
    figure = Figure(figsize=(7, 4.6), layout="constrained")
    axes = figure.subplots()
    for number, (name, trained) in enumerate(results.items()):
        colour, line, marker = pictures.style(number)
        scored = [row for row in trained.rows if row[column]]
        axes.plot(
            [int(row["round"]) for row in scored],
            [float(row[column]) for row in scored],
            color=colour,
            linestyle=line,
            marker=marker,
            markersize=4,
            label=picture.wrapped(name, 60),
        )
    axes.axhline(
        first.scores["test"].baseline, color="grey", linestyle=":", label=report.baseline_name
    )
    axes.set(xlabel="round", ylabel=f"test {report.headline}", title=picture.wrapped(title, 70))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if report.is_share:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, fontsize="small", frameon=False)
    pictures.save(figure, pathlib.Path(path))
