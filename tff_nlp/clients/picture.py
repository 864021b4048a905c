"""A picture of a partition: each client's label mix and size."""

import os
import pathlib
import warnings
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from tff_nlp.clients.partition import Partition
from tff_nlp.errors import UserError

# Distinguishable for colour-blind readers (Okabe and Ito 2008); the last is for all the rest.
_COLORS = ("#D55E00", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#F0E442", "#999999")
_NAMED_CLIENTS = 40
_COLUMNS = 600


def draw_partition(
    partition: Partition,
    labels: np.ndarray,
    label_names: Sequence[str],
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
) -> None:
    """Draws who holds what into a PNG.

    Up to 40 clients each get a bar with their name. More are sorted by label mix and drawn side
    by side, from 600 on averaged with their neighbours, beside a histogram of their sizes.

    Args:
      partition: Who holds what.
      labels: int32[examples], the labels of the corpus.
      label_names: Names of the labels; beyond eight, the rarest share one colour.
      path: The file to write.
      title: Shown above; by default the partition's kind and number of clients.

    Raises:
      UserError: If the file cannot be written, or the partition has no clients.
    """
    if not partition.num_clients:
        raise UserError(f"{path}: a partition without clients cannot be drawn")
    counts, names = _main_labels(partition.label_counts(labels, len(label_names)), label_names)
    order = _by_mix(counts)
    counts = counts[order]
    few = partition.num_clients <= _NAMED_CLIENTS
    height = max(3.6, 1.6 + 0.24 * partition.num_clients) if few else 4.5
    figure = Figure(figsize=(11, height), layout=ConstrainedLayoutEngine(wspace=0.04))
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1), sharey=few)
    if few:
        client_names = [_short(partition.client_ids[client]) for client in order]
        _draw_named(left, right, counts, names, client_names)
    else:
        _draw_many(left, counts, names)
        _draw_sizes(right, counts.sum(axis=1))
    figure.legend(
        *left.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=min(len(names), 6),
        frameon=False,
    )
    figure.suptitle(title or f"{partition.kind}: {partition.num_clients:,} clients")
    try:
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            # Names in scripts that matplotlib's own font lacks are drawn as boxes.
            warnings.filterwarnings("ignore", message="Glyph")
            figure.savefig(path, format="png", dpi=120)
    except OSError as error:
        raise UserError(f"{path}: cannot write the picture: {error.strerror}") from error


def _main_labels(counts: np.ndarray, label_names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Returns the counts of at most eight columns, the last one gathering the rare labels."""
    names = [_short(name) for name in label_names]
    if len(names) <= len(_COLORS):
        return counts, names
    frequent = np.sort(np.argsort(-counts.sum(axis=0), kind="stable")[: len(_COLORS) - 1])
    rest = np.delete(counts, frequent, axis=1)
    counts = np.concatenate([counts[:, frequent], rest.sum(axis=1, keepdims=True)], axis=1)
    return counts, [names[label] for label in frequent] + [f"{rest.shape[1]} other labels"]


def _by_mix(counts: np.ndarray) -> np.ndarray:
    """Returns int64[clients], an order in which neighbours have similar label mixes."""
    shares = _shares(counts)
    sizes = counts.sum(axis=1)
    if counts.shape[1] <= 2:
        return np.lexsort((-sizes, -shares[:, 0]))
    ties = [-shares[:, label] for label in reversed(range(shares.shape[1]))]
    return np.lexsort((-sizes, *ties, -shares.max(axis=1), shares.argmax(axis=1)))


def _shares(counts: np.ndarray) -> np.ndarray:
    return counts / counts.sum(axis=1, keepdims=True)


def _draw_named(
    left: Axes, right: Axes, counts: np.ndarray, names: list[str], client_names: list[str]
) -> None:
    places = np.arange(len(counts))
    for axes, values in ((left, _shares(counts)), (right, counts)):
        start = np.zeros(len(counts))
        for label, name in enumerate(names):
            axes.barh(
                places, values[:, label], left=start, color=_COLORS[label], label=name, height=0.8
            )
            start += values[:, label]
    left.set_yticks(places, client_names)
    left.set_ylim(len(counts) - 0.4, -0.6)
    left.set_xlim(0, 1)
    left.xaxis.set_major_formatter(PercentFormatter(1.0))
    left.set_xlabel("share of the client's examples")
    right.set_xlabel("examples")
    right.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    right.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _draw_many(axes: Axes, counts: np.ndarray, names: list[str]) -> None:
    shares = _shares(counts)
    edges = np.linspace(0, len(counts), min(len(counts), _COLUMNS) + 1).astype(np.int64)
    columns = np.add.reduceat(shares, edges[:-1], axis=0) / np.diff(edges)[:, np.newaxis]
    start = np.zeros(len(columns))
    for label, name in enumerate(names):
        end = start + columns[:, label]
        axes.stairs(end, edges, baseline=start, fill=True, color=_COLORS[label], label=name)
        start = end
    overall = np.cumsum(counts.sum(axis=0) / counts.sum())[:-1]
    for place in overall if len(names) <= 3 else ():
        axes.axhline(place, color="black", linewidth=1, linestyle=(0, (4, 3)))
    axes.set_xlim(0, len(counts))
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    dashed = " (dashed: all examples together)" if len(names) <= 3 else ""
    axes.set_xlabel(f"clients, sorted by label mix{dashed}")
    axes.set_ylabel("share of the client's examples")


def _draw_sizes(axes: Axes, sizes: np.ndarray) -> None:
    smallest, largest = int(sizes.min()), int(sizes.max())
    wide = largest > 30 * smallest and largest > 100
    if largest - smallest < 30:
        edges = np.arange(smallest, largest + 2) - 0.5
    elif wide:
        edges = np.geomspace(smallest, largest + 1, 31)
        axes.set_xscale("log")
    else:
        edges = np.linspace(smallest, largest + 1, 31)
    counts, _ = np.histogram(sizes, edges)
    axes.stairs(counts, edges, fill=True, color="#56798F")
    if counts.max() > 100 * max(1, counts[counts > 0].min()):
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.8)
    axes.set_xlabel(f"examples per client (median {np.median(sizes):,.0f})")
    axes.set_ylabel("clients")
    formatter = FuncFormatter(lambda value, _: f"{value:,.0f}")
    axes.xaxis.set_major_formatter(formatter)
    axes.yaxis.set_major_formatter(formatter)
    if not wide:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def _short(name: str) -> str:
    """Returns a name that fits beside a bar and that matplotlib does not read as a formula."""
    name = name if len(name) <= 24 else name[:23] + "…"
    return name.replace("$", r"\$")
