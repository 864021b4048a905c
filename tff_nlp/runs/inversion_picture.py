"""The picture of an attack on texts: what came back in each scenario."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from tff_nlp.clients import picture
from tff_nlp.program import pictures

_BARS = {
    "tokens": "tokens in the table of embeddings (F-measure)",
    "rouge_1": "words (ROUGE-1)",
    "rouge_2": "pairs of words (ROUGE-2)",
    "exact": "whole texts",
}
_GREYS, _HATCHES = ("0.85", "0.65", "0.4", "0.1"), ("//", "", "..", "")


def draw(found: Mapping[str, Mapping[str, Any]], path: pathlib.Path, *, title: str) -> None:
    """Draws a group of bars for each scenario.

    Args:
      found: Scenario -> "tokens", "rouge_1", "rouge_2" and "exact", from 0 to 1. "tokens" may be
        None.
      path: Path of the PNG file.
      title: Title of the picture.
    """
    figure = Figure(figsize=(7.5, 1.6 + 0.55 * len(found)), layout="constrained")
    axes = figure.subplots()
    places, height = np.arange(len(found)), 0.8 / len(_BARS)
    styles = zip(_BARS.items(), _GREYS, _HATCHES, strict=True)
    for number, ((name, label), grey, hatch) in enumerate(styles):
        axes.barh(
            places + (number - 1.5) * height,
            [scores[name] or 0.0 for scores in found.values()],
            height,
            color=grey,
            edgecolor="black",
            linewidth=0.5,
            hatch=hatch,
            label=label,
        )
    axes.set_yticks(places, [name.replace("_", " ") for name in found])
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.02), xlabel="share of the client's texts that the server read")
    axes.set_title(picture.wrapped(title, 60))
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    pictures.save(figure, path)
