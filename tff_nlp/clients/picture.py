"""A picture of a partition: each client's label mix and size."""

import os
import pathlib
import textwrap
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from tff_nlp import durable_files
from tff_nlp.clients.partition import Partition
from tff_nlp.errors import UserError

# Further labels share one colour, a pale grey that is unlike all other colours.
_MOST_LABELS = 8
_OTHERS = "#E4E4E4"
_SIZES = "#56798F"
_NAMED_CLIENTS = 40
_COLUMNS = 600
# Description of the clients, by the kind of the partition. Its parameters are in braces.
_KINDS = {
    "natural": "one for each author, or other value of the client column",
    "grouped": "authors put together",
    "domains": "{clients_per_domain} for each domain",
    "iid": "examples dealt out at random",
    "dirichlet": "label mixes drawn from a Dirichlet distribution, alpha {alpha}",
    "shards": "{shards_per_client} shards of sorted labels each",
    "quantity": "sizes drawn from a Dirichlet distribution, alpha {alpha}",
}


def draw_partition(
    partition: Partition,
    labels: np.ndarray,
    label_names: Sequence[str],
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
) -> None:
    """Draws the label mix and the size of each client into a PNG file.

    Up to 40 clients get one bar each, with their name. More clients are drawn as columns next to a
    histogram of their sizes; with more than 600 clients, a column is the mean of neighbours. With
    two labels, clients are sorted by their share of the first label. With more labels, they are
    grouped by their most frequent label. Colours differ in lightness, so that they differ for
    colour-blind readers and in a grey print, too.

    Args:
      partition: The partition.
      labels: The labels of the corpus, int32[examples].
      label_names: Names of the labels. With more than eight labels, the rarest share one colour.
      path: Path of the PNG file.
      title: Title above the description of the partition.

    Raises:
      UserError: If the partition has no clients.
      WriteError: If the file cannot be written.
    """
    if not partition.num_clients:
        raise UserError(f"{path}: a partition without clients cannot be drawn")
    counts, names = _main_labels(partition.label_counts(labels, len(label_names)), label_names)
    colors = _colors(len(names), len(label_names) > len(names))
    order = _by_mix(counts)
    counts = counts[order]
    few = partition.num_clients <= _NAMED_CLIENTS
    height = max(3.6, 1.6 + 0.24 * partition.num_clients) if few else 4.5
    figure = Figure(figsize=(11, height), layout=ConstrainedLayoutEngine(wspace=0.04))
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1), sharey=few)
    if few:
        client_names = [short_name(partition.client_ids[client]) for client in order]
        _draw_named(left, right, counts, names, colors, client_names)
    else:
        _draw_many(left, counts, names, colors)
        _draw_sizes(right, counts.sum(axis=1))
    figure.legend(
        *left.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=min(len(names), 6),
        frameon=False,
    )
    _save(figure, partition, path, title)


def draw_sizes(
    partition: Partition, path: str | os.PathLike[str], *, title: str | None = None
) -> None:
    """Draws the number of examples of each client, for a corpus without labels.

    Up to 40 clients are bars with their names, sorted by size. More are a histogram.

    Args:
      partition: The partition.
      path: Path of the PNG file.
      title: Title above the description of the partition.

    Raises:
      UserError: If the partition has no clients.
      WriteError: If the file cannot be written.
    """
    if not partition.num_clients:
        raise UserError(f"{path}: a partition without clients cannot be drawn")
    few = partition.num_clients <= _NAMED_CLIENTS
    height = max(3.6, 1.6 + 0.24 * partition.num_clients) if few else 4.5
    figure = Figure(figsize=(7, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    if few:
        order = np.argsort(-partition.sizes, kind="stable")
        names = [short_name(partition.client_ids[client]) for client in order]
        axes.barh(np.arange(len(order)), partition.sizes[order], color=_SIZES)
        axes.set_yticks(np.arange(len(order)), names)
        axes.set_ylim(len(order) - 0.4, -0.6)
        axes.set_xlabel("examples")
    else:
        _draw_sizes(axes, partition.sizes)
    _save(figure, partition, path, title)


def _save(
    figure: Figure, partition: Partition, path: str | os.PathLike[str], title: str | None
) -> None:
    figure.suptitle("\n".join(filter(None, (wrapped(title or "", 100), _describe(partition)))))
    with durable_files.replacing(pathlib.Path(path)) as file, warnings.catch_warnings():
        # Matplotlib's font lacks some scripts. It draws boxes for them, without a warning here.
        warnings.filterwarnings("ignore", message="Glyph")
        figure.savefig(file, format="png", dpi=120)


def _main_labels(counts: np.ndarray, label_names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Returns counts and names of at most eight columns. The last one may sum the rare labels."""
    names = [short_name(name) for name in label_names]
    if len(names) <= _MOST_LABELS:
        return counts, names
    frequent = np.sort(np.argsort(-counts.sum(axis=0), kind="stable")[: _MOST_LABELS - 1])
    rest = np.delete(counts, frequent, axis=1)
    counts = np.concatenate([counts[:, frequent], rest.sum(axis=1, keepdims=True)], axis=1)
    return counts, [names[label] for label in frequent] + [f"{rest.shape[1]} other labels"]


def _colors(count: int, others: bool) -> list[Any]:
    """Returns a colour per label, from dark to light. The last one may be for all other labels."""
    named = count - others
    steps = np.linspace(0.08, 0.85 if others else 0.92, named) if named > 1 else [0.35]
    colors = [matplotlib.colormaps["viridis"](step) for step in steps]
    return [*colors, _OTHERS] if others else colors


def _describe(partition: Partition) -> str:
    """Returns a description of the clients."""
    words = _KINDS.get(partition.kind, partition.kind).format(**partition.parameters)
    return f"{partition.num_clients:,} clients: {words}"


def _order_words(names: list[str]) -> str:
    if len(names) <= 2:
        return f"sorted by their share of {names[0]}"
    return "grouped by their most frequent label"


def _by_mix(counts: np.ndarray) -> np.ndarray:
    """Returns an order in which neighbours have similar label mixes, int64[clients]."""
    shares = _shares(counts)
    sizes = counts.sum(axis=1)
    if counts.shape[1] <= 2:
        return np.lexsort((-sizes, -shares[:, 0]))
    ties = [-shares[:, label] for label in reversed(range(shares.shape[1]))]
    return np.lexsort((-sizes, *ties, -shares.max(axis=1), shares.argmax(axis=1)))


def _shares(counts: np.ndarray) -> np.ndarray:
    return counts / counts.sum(axis=1, keepdims=True)


def _draw_named(
    left: Axes,
    right: Axes,
    counts: np.ndarray,
    names: list[str],
    colors: list[Any],
    client_names: list[str],
) -> None:
    places = np.arange(len(counts))
    for axes, values in ((left, _shares(counts)), (right, counts)):
        start = np.zeros(len(counts))
        for label, name in enumerate(names):
            axes.barh(
                places, values[:, label], left=start, color=colors[label], label=name, height=0.8
            )
            start += values[:, label]
    left.set_yticks(places, client_names)
    left.set_ylim(len(counts) - 0.4, -0.6)
    left.set_xlim(0, 1)
    left.xaxis.set_major_formatter(PercentFormatter(1.0))
    left.set_xlabel("share of the client's examples")
    left.set_ylabel(f"clients,\n{_order_words(names)}")
    right.set_xlabel("examples")
    right.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    right.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _draw_many(axes: Axes, counts: np.ndarray, names: list[str], colors: list[Any]) -> None:
    shares = _shares(counts)
    edges = np.linspace(0, len(counts), min(len(counts), _COLUMNS) + 1).astype(np.int64)
    columns = np.add.reduceat(shares, edges[:-1], axis=0) / np.diff(edges)[:, np.newaxis]
    start = np.zeros(len(columns))
    for label, name in enumerate(names):
        end = start + columns[:, label]
        axes.stairs(end, edges, baseline=start, fill=True, color=colors[label], label=name)
        start = end
    # A white outline makes the lines visible on every colour.
    outlined: list[Any] = [patheffects.withStroke(linewidth=2.5, foreground="white")]
    groups = np.flatnonzero(np.diff(shares.argmax(axis=1))) + 1
    for place in groups if len(names) > 2 else ():
        axes.axvline(place, color="black", linewidth=0.8, path_effects=outlined)
    overall = np.cumsum(counts.sum(axis=0) / counts.sum())[:-1]
    for place in overall if len(names) <= 3 else ():
        line = axes.axhline(place, color="black", linewidth=1, linestyle=(0, (4, 3)))
        line.set_path_effects(outlined)
    axes.set_xlim(0, len(counts))
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    dashed = " (dashed: all examples together)" if len(names) <= 3 else ""
    axes.set_xlabel(f"clients, {_order_words(names)}{dashed}")
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
    axes.stairs(counts, edges, fill=True, color=_SIZES)
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


def short_name(name: str, longest: int = 24) -> str:
    """Returns a name that is short enough for a bar and that matplotlib does not read as math."""
    name = name if len(name) <= longest else name[: longest - 1] + "…"
    return name.replace("$", r"\$")


def wrapped(title: str, width: int) -> str:
    """Returns a title in at most three lines that matplotlib does not read as math.

    Args:
      title: The title.
      width: Maximum number of characters in a line.
    """
    lines = textwrap.wrap(title, width, max_lines=3, placeholder=" …")
    return "\n".join(lines).replace("$", r"\$")
