"""audit.png: ROC curves, and the AUC of the attacks per label and per client, for some runs."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tff_nlp import durable_files
from tff_nlp.clients import picture
from tff_nlp.privacy import membership
from tff_nlp.runs.membership_audit import Attacks, Audit

# Colours for colour-blind readers (Okabe and Ito 2008). Adjacent colours also differ in grey.
_COLOURS = ("#0072B2", "#E69F00", "#000000", "#56B4E9", "#D55E00", "#F0E442", "#009E73")
_STYLES = {membership.THRESHOLD: "-", membership.LOGISTIC_REGRESSION: "--"}
# With more bars, the names below them are left out.
_NAMED_BARS = 24


def draw(audits: Sequence[Audit], path: pathlib.Path) -> None:
    """Draws the audits of one or several runs.

    Args:
      audits: The audits. Labels are in the order of the first audit, clients in that of their AUC.
      path: Path of the PNG file.

    Raises:
      WriteError: If the file cannot be written.
    """
    figure = Figure(figsize=(15, 5), layout="constrained")
    roc, labels, clients = figure.subplots(1, 3, width_ratios=(1, 1, 1.4))
    _draw_roc(roc, audits)
    _draw_bars(labels, [audit.labels for audit in audits], "label")
    _draw_bars(clients, [audit.clients for audit in audits], "client", ranked=True)
    figure.suptitle("membership inference: chance is an AUC of 0.5")
    FigureCanvasAgg(figure)
    with durable_files.replacing(path) as file:
        figure.savefig(file, format="png", dpi=120)


def _draw_roc(axes: Axes, audits: Sequence[Audit]) -> None:
    for number, audit in enumerate(audits):
        title = picture.short_name(audit.name)
        for name, attack in audit.overall.items():
            axes.plot(
                attack.false_positives,
                attack.true_positives,
                _STYLES[name],
                color=_colour(number),
                label=f"{title}, {name.replace('_', ' ')}: {attack.auc:.3f}",
            )
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1))
    axes.set_title("ROC and AUC")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize="small")


def _draw_bars(
    axes: Axes, groups: Sequence[Mapping[str, Attacks]], what: str, *, ranked: bool = False
) -> None:
    """Draws the AUC of the threshold attack with its 95 % interval. Runs are side by side."""
    names = list(dict.fromkeys(name for group in groups for name in group))
    if ranked:
        names.sort(key=lambda name: -_auc(groups, name))
    width = 0.8 / len(groups)
    for number, group in enumerate(groups):
        bars = [(place, group[name]) for place, name in enumerate(names) if name in group]
        attacks = [attacks[membership.THRESHOLD] for _, attacks in bars]
        middle = np.array([attack.auc for attack in attacks])
        ends = np.array([attack.interval for attack in attacks]).reshape(-1, 2)
        axes.bar(
            [place + (number - (len(groups) - 1) / 2) * width for place, _ in bars],
            middle - 0.5,
            width,
            bottom=0.5,
            yerr=np.abs(ends.T - middle),
            color=_colour(number),
            ecolor="grey",
            error_kw={"elinewidth": 0.8},
        )
    axes.axhline(0.5, color="grey", linestyle=":")
    axes.set_title(f"AUC per {what}" if names else f"no {what}s with enough examples")
    axes.set_ylabel("AUC of the threshold attack")
    if len(names) <= _NAMED_BARS:
        shown = [picture.short_name(name) for name in names]
        axes.set_xticks(range(len(names)), shown, rotation=45, ha="right", rotation_mode="anchor")
    else:
        axes.set_xticks([])
        axes.set_xlabel(f"{len(names)} {what}s")
    axes.grid(axis="y", alpha=0.3)


def _auc(groups: Sequence[Mapping[str, Attacks]], name: str) -> float:
    return next(g[name][membership.THRESHOLD].auc for g in groups if name in g)


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]
