"""Compares finished runs: settings, curves, scores over seeds, and whether they really differ."""

import dataclasses
import itertools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats

from tff_nlp import durable_files, errors
from tff_nlp.printable import printable
from tff_nlp.program import metrics_log, run_directory
from tff_nlp.runs import (
    cells,
    comparison_page,
    comparison_picture,
    predicted_labels,
    reporter,
    saved_run,
    sent_bytes,
    text_table,
)

JSON, PAGE, PICTURE = "comparison.json", "comparison.html", "comparison.png"
# Settings in which runs of one method differ, and what a machine decides.
_ANY = ("seed", "noise_seed", "devices", "ray_address", "ray_actors")


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A finished run.

    Attributes:
      name: Its folder, as it was given.
      settings: The settings that the run recorded, without the seed.
      seed: The seed.
      measure: Name of the test score: "accuracy" or "perplexity".
      score: The test score.
      curve: (rounds, bytes of all clients, seconds, score) of each evaluated round.
      right: Whether each test example was predicted right, bool[examples]; None if not known.
      test: Fingerprint of the test corpus.
      privacy: The line of the privacy statement; empty without one.
    """

    name: str
    settings: Mapping[str, Any]
    seed: int
    measure: str
    score: float
    curve: Sequence[tuple[float, float, float, float]]
    right: np.ndarray | None
    test: str
    privacy: str


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Runs that differ in their seeds only.

    Attributes:
      label: The settings in which it differs from the other groups, or the folder.
      runs: The runs, by seed.
    """

    label: str
    runs: tuple[Run, ...]

    @property
    def scores(self) -> np.ndarray:
        """The scores of its runs, float64[runs]."""
        return np.array([run.score for run in self.runs])

    @property
    def deviation(self) -> float | None:
        """The standard deviation over seeds; None for a single run."""
        return float(self.scores.std(ddof=1)) if len(self.runs) > 1 else None


@dataclasses.dataclass(frozen=True)
class Test:
    """A test of whether two groups differ.

    Attributes:
      one: Label of a group.
      other: Label of the other group.
      difference: Mean score of the first minus that of the second group.
      method: What was tested, a sentence.
      p_value: The p-value, multiplied by Holm's factor for the number of tests.
    """

    one: str
    other: str
    difference: float
    method: str
    p_value: float


def compare(folders: Sequence[pathlib.Path], to: pathlib.Path) -> Mapping[str, Any]:
    """Compares runs, and writes comparison.html, comparison.json and comparison.png.

    Args:
      folders: Folders of two or more finished runs.
      to: Folder for the files. It is made if it does not exist.

    Returns:
      The content of comparison.json.

    Raises:
      UserError: If a run is not finished, or the runs have no score in common.
    """
    runs = [load(folder) for folder in folders]
    measures = {run.measure for run in runs}
    if len(measures) > 1:
        raise errors.UserError("runs with an accuracy and runs with a perplexity: compare one kind")
    [measure] = measures
    differing = different_settings(runs)
    groups = group(runs, differing)
    tests = adjusted([found for pair in itertools.combinations(groups, 2) for found in test(*pair)])
    written = {
        "measure": measure,
        "different_settings": {
            name: [run.settings.get(name) for run in runs] for name in differing
        },
        "runs": [{"folder": run.name, "seed": run.seed, measure: run.score} for run in runs],
        "groups": [
            {
                "label": found.label,
                "folders": [run.name for run in found.runs],
                "mean": float(found.scores.mean()),
                "standard_deviation": found.deviation,
            }
            for found in groups
        ],
        "tests": [dataclasses.asdict(found) for found in tests],
    }
    to.mkdir(parents=True, exist_ok=True)
    curves = {found.label: [run.curve for run in found.runs] for found in groups}
    comparison_picture.draw(curves, to / PICTURE, measure=measure)
    durable_files.replace_text(to / JSON, json.dumps(written, indent=2) + "\n")
    page = comparison_page.build(written, (to / PICTURE).read_bytes(), [r.privacy for r in runs])
    durable_files.replace_text(to / PAGE, page)
    reporter.show(table(groups, tests, measure))
    reporter.say("saved", [f"{errors.verbatim(to)}: {PAGE}, {JSON}, {PICTURE}"])
    return written


def load(folder: pathlib.Path) -> Run:
    """Returns a finished run.

    Raises:
      UserError: If there is no finished run in the folder, or a file is damaged.
    """
    config, result = saved_run.read(folder, named=errors.verbatim(folder))
    measure = cells.headline(result)
    path = folder / run_directory.PREDICTIONS
    rows = metrics_log.read(folder / run_directory.METRICS)
    sent = result.get("bytes_per_client", {})
    return Run(
        name=printable(str(folder)),
        settings={n: v for n, v in config.items() if n not in _ANY and "fingerprint" not in n},
        seed=int(config["seed"]),
        measure=measure,
        score=float(result["test"][measure]),
        curve=curve(rows, measure, down=sent.get("down", 0), up=sent.get("up", 0)),
        right=predicted_labels.read_right(path) if path.exists() else None,
        test=str(result["fingerprints"]["test"]),
        privacy=result.get("privacy", {}).get("line", ""),
    )


def curve(
    rows: Sequence[Mapping[str, str]], measure: str, *, down: int, up: int
) -> list[tuple[float, float, float, float]]:
    """Returns (rounds, bytes of all clients, seconds, score) of each evaluated round.

    Args:
      rows: The rows of metrics.csv.
      measure: Name of the test score.
      down: Bytes to a client in a round; 0 without clients.
      up: Bytes from a client.
    """
    sent = sent_bytes.cumulative(rows, down=down, up=up)
    seconds = itertools.accumulate(float(row["seconds"]) for row in rows)
    scores = [row.get(f"test_{measure}") for row in rows]
    return [
        (float(number), float(total), passed, float(score))
        for number, (total, passed, score) in enumerate(
            zip(sent, seconds, scores, strict=True), start=1
        )
        if score
    ]


def different_settings(runs: Sequence[Run]) -> list[str]:
    """Returns the names of the settings that are not the same in all runs."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    values = {name: {json.dumps(run.settings.get(name)) for run in runs} for name in names}
    return [name for name in names if len(values[name]) > 1]


def group(runs: Sequence[Run], differing: Sequence[str]) -> list[Group]:
    """Returns the runs in groups that differ in seeds only, in the order of the first runs."""
    by_settings: dict[str, list[Run]] = {}
    for run in runs:
        own = json.dumps([run.settings.get(name) for name in differing])
        by_settings.setdefault(own, []).append(run)
    groups = []
    for members in by_settings.values():
        settings = [f"{name}={members[0].settings.get(name)}" for name in differing]
        label = ", ".join(settings) if 0 < len(settings) <= 3 else members[0].name
        groups.append(Group(label, tuple(sorted(members, key=lambda run: run.seed))))
    return groups


def test(one: Group, other: Group) -> list[Test]:
    """Tests whether two groups differ: over seeds, and over the texts of runs with one seed.

    Over seeds it is Welch's test; it needs two runs on both sides. Over texts it is McNemar's exact
    test of the texts that only one of two runs predicts right.
    """
    difference = float(one.scores.mean() - other.scores.mean())
    found = []
    if min(len(one.runs), len(other.runs)) > 1 and (one.scores.std() or other.scores.std()):
        p = float(scipy.stats.ttest_ind(one.scores, other.scores, equal_var=False).pvalue)
        method = f"Welch's test over {len(one.runs)} and {len(other.runs)} seeds"
        found.append(Test(one.label, other.label, difference, method, p))
    pair = _same_texts(one, other)
    if pair is not None:
        first, second = pair
        assert first.right is not None and second.right is not None
        only = [int((a & ~b).sum()) for a, b in itertools.permutations((first.right, second.right))]
        p = float(scipy.stats.binomtest(only[0], sum(only), 0.5).pvalue) if sum(only) else 1.0
        method = (
            f"McNemar's exact test over {len(first.right):,} texts (seed {first.seed}): {only[0]} "
            f"right only in the first, {only[1]} only in the second"
        )
        found.append(Test(one.label, other.label, first.score - second.score, method, p))
    return found


def _same_texts(one: Group, other: Group) -> tuple[Run, Run] | None:
    """Returns a run of each group with the same seed and the same test texts, if there are."""
    for first, second in itertools.product(one.runs, other.runs):
        known = first.right is not None and second.right is not None
        if known and (first.seed, first.test) == (second.seed, second.test):
            return first, second
    return None


def adjusted(tests: Sequence[Test]) -> list[Test]:
    """Returns tests with the p-values of Holm 1979, which hold for all of them together."""
    order = sorted(range(len(tests)), key=lambda number: tests[number].p_value)
    p_values, largest = {}, 0.0
    for rank, number in enumerate(order):
        largest = max(largest, min(1.0, (len(tests) - rank) * tests[number].p_value))
        p_values[number] = largest
    return [dataclasses.replace(t, p_value=p_values[n]) for n, t in enumerate(tests)]


def table(groups: Sequence[Group], tests: Sequence[Test], measure: str) -> list[str]:
    """Returns the lines for a terminal."""
    rows = [["", measure, "deviation", "seeds"]]
    for found in groups:
        spread = "-" if found.deviation is None else f"{found.deviation:.4f}"
        rows.append([found.label, f"{found.scores.mean():.4f}", spread, str(len(found.runs))])
    lines = text_table.aligned(rows)
    for found_test in tests:
        sure = "differ" if found_test.p_value < 0.05 else "may be equal"
        lines.append(
            f"{found_test.one} and {found_test.other} {sure}: {found_test.difference:+.4f}, "
            f"p = {found_test.p_value:.2g} ({found_test.method})"
        )
    return lines
