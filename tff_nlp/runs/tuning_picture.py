"""The picture of a search: scores over the values, and the best score so far."""

import pathlib
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tff_nlp.program import pictures
from tff_nlp.runs import search_space, trial_study

_MOST_PANELS = 4


def draw(
    dimensions: Sequence[search_space.Dimension],
    trials: Sequence[trial_study.Trial],
    path: pathlib.Path,
    *,
    measure: str,
    minimize: bool,
) -> None:
    """Draws a panel for each of the first dimensions, and one for the way of the search.

    Args:
      dimensions: What was searched.
      trials: The finished trials.
      path: Path of the PNG file.
      measure: Name of the score.
      minimize: Whether a smaller score is better.
    """
    shown = dimensions[:_MOST_PANELS]
    figure = Figure(figsize=(4.2 * (len(shown) + 1), 4.4), layout="constrained")
    panels = figure.subplots(1, len(shown) + 1, sharey=True, squeeze=False)[0]
    scored = [trial for trial in trials if trial.has_score]
    for axes, dimension in zip(panels, shown, strict=False):
        _draw_values(axes, dimension, scored)
    _draw_way(panels[-1], scored, minimize=minimize)
    panels[0].set_ylabel(measure)
    panels[-1].legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.14), fontsize="small", frameon=False
    )
    figure.suptitle(f"{len(trials)} trials, {len(scored)} with a score")
    pictures.save(figure, path)


def _draw_values(
    axes: Axes, dimension: search_space.Dimension, trials: Sequence[trial_study.Trial]
) -> None:
    is_choice = dimension.kind == search_space.CHOICE
    for pruned, marker in ((False, "o"), (True, "x")):
        some = [trial for trial in trials if trial.pruned == pruned]
        values = [trial.values[dimension.name] for trial in some]
        places = [dimension.values.index(v) for v in values] if is_choice else values
        axes.plot(places, [trial.score for trial in some], marker, color=pictures.BLUE)
    if is_choice:
        names = ["none" if value is None else str(value) for value in dimension.values]
        axes.set_xticks(range(len(names)), names)
        axes.set_xlim(-0.5, len(names) - 0.5)
    if dimension.kind == search_space.LOGUNIFORM:
        axes.set_xscale("log")
    axes.set_xlabel(dimension.name.replace("_", " "))
    axes.grid(alpha=0.3)


def _draw_way(axes: Axes, trials: Sequence[trial_study.Trial], *, minimize: bool) -> None:
    whole = [trial for trial in trials if not trial.pruned]
    early = [trial for trial in trials if trial.pruned]
    for some, marker, label in ((whole, "o", "trained to the end"), (early, "x", "ended early")):
        places = [trial.number + 1 for trial in some]
        scores = [trial.score for trial in some]
        axes.plot(places, scores, marker, color=pictures.BLUE, label=label)
    if whole:
        best = (np.minimum if minimize else np.maximum).accumulate([t.score for t in whole])
        places = [trial.number + 1 for trial in whole]
        axes.step(places, best, "k--", where="post", label="best so far")
    axes.set_xlabel("trial")
    axes.grid(alpha=0.3)
