"""Comparisons of runs: groups, statistics against SciPy and by hand, the table and the page."""

import dataclasses
import html.parser
import itertools

import numpy as np
import pytest
import scipy.stats

from tff_nlp.runs import comparison, comparison_page, comparison_picture, predicted_labels

RIGHT = np.array([True] * 70 + [False] * 30)


def run(name, score, seed=0, right=None, **settings):
    curve = [(1.0, 2e6, 1.5, score - 0.1), (2.0, 4e6, 3.0, score)]
    return comparison.Run(
        name, settings, seed, "accuracy", score, curve, right, test="texts", privacy=""
    )


def groups_of(*runs):
    return comparison.group(runs, comparison.different_settings(runs))


def test_runs_that_differ_in_the_seed_are_one_group():
    runs = [
        run("a", 0.7, 1, algorithm="fedavg", rounds=5),
        run("b", 0.8, 0, algorithm="fedprox", rounds=5),
        run("c", 0.6, 0, algorithm="fedavg", rounds=5),
    ]
    assert comparison.different_settings(runs) == ["algorithm"]
    first, second = groups_of(*runs)
    assert (first.label, second.label) == ("algorithm=fedavg", "algorithm=fedprox")
    assert [member.name for member in first.runs] == ["c", "a"]
    assert first.deviation == pytest.approx(np.std([0.6, 0.7], ddof=1))
    assert second.deviation is None


def test_many_settings_are_named_by_the_folder():
    settings = {f"option_{number}": number for number in range(5)}
    others = {name: value + 1 for name, value in settings.items()}
    first, second = groups_of(run("runs/a", 0.7, **settings), run("runs/b", 0.8, **others))
    assert (first.label, second.label) == ("runs/a", "runs/b")


def test_seeds_are_compared_by_welchs_test():
    scores = ([0.70, 0.72, 0.69], [0.80, 0.79])
    runs = [
        run(f"{side}{seed}", score, seed, side=side)
        for side, part in zip("ab", scores, strict=True)
        for seed, score in enumerate(part)
    ]
    (found,) = comparison.test(*groups_of(*runs))
    expected = scipy.stats.ttest_ind(*scores, equal_var=False)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.difference == pytest.approx(np.mean(scores[0]) - np.mean(scores[1]))
    assert found.method == "Welch's test over 3 and 2 seeds"


def test_texts_are_compared_by_mcnemars_exact_test():
    """By hand: of 12 texts that one alone has right, 10 belong to the first."""
    other = RIGHT.copy()
    other[:10], other[70:72] = False, True
    first, second = groups_of(
        run("a", 0.7, right=RIGHT, side="a"), run("b", 0.62, right=other, side="b")
    )
    (found,) = comparison.test(first, second)
    by_hand = 2 * sum(scipy.special.comb(12, k) for k in range(3)) / 2**12
    assert found.p_value == pytest.approx(by_hand)
    assert "10 right only in the first, 2 only in the second" in found.method


@pytest.mark.parametrize("changes", [{"seed": 3}, {"right": None}, {"test": "other texts"}])
def test_other_texts_or_seeds_are_not_paired(changes):
    one, other = run("a", 0.7, right=RIGHT, side="a"), run("b", 0.7, right=RIGHT, side="b")
    assert comparison.test(*groups_of(one, dataclasses.replace(other, **changes))) == []


def test_equal_predictions_do_not_differ():
    one, other = run("a", 0.7, right=RIGHT, side="a"), run("b", 0.7, right=RIGHT, side="b")
    (found,) = comparison.test(*groups_of(one, other))
    assert found.p_value == 1.0 and found.difference == 0.0


def test_p_values_are_adjusted_as_holm_does():
    tests = [comparison.Test("a", "b", 0.0, "", p) for p in (0.01, 0.04, 0.03, 0.005)]
    found = [test.p_value for test in comparison.adjusted(tests)]
    # The example of R's p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm").
    np.testing.assert_allclose(found, [0.03, 0.06, 0.06, 0.02])


def test_the_curve_adds_up_bytes_and_seconds():
    rows = [
        {"round": "1", "clients": "3", "seconds": "2.0", "test_accuracy": ""},
        {"round": "2", "clients": "2", "seconds": "1.0", "test_accuracy": "0.5"},
    ]
    assert comparison.curve(rows, "accuracy", down=4, up=6) == [(2.0, 50.0, 3.0, 0.5)]
    central = [{"epoch": "1", "seconds": "2.0", "test_accuracy": "0.5"}]
    assert comparison.curve(central, "accuracy", down=0, up=0) == [(1.0, 0.0, 2.0, 0.5)]


def test_the_table_says_what_differs():
    other = RIGHT.copy()
    other[:30] = False
    groups = groups_of(run("a", 0.7, right=RIGHT, side="a"), run("b", 0.4, right=other, side="b"))
    tests = comparison.adjusted(
        [t for pair in itertools.combinations(groups, 2) for t in comparison.test(*pair)]
    )
    lines = comparison.table(groups, tests, "accuracy")
    assert lines[:3] == [
        "        accuracy  deviation  seeds",
        "side=a    0.7000          -      1",
        "side=b    0.4000          -      1",
    ]
    assert lines[3].startswith("side=a and side=b differ: +0.3000, p = 1.9e-09 ")


def test_the_picture_is_drawn(tmp_path):
    groups = groups_of(run("a", 0.7, side="a"), run("b", 0.6, side="b"), run("c", 0.5, 1, side="b"))
    curves = {found.label: [member.curve for member in found.runs] for found in groups}
    comparison_picture.draw(curves, tmp_path / "picture.png", measure="accuracy")
    assert (tmp_path / "picture.png").stat().st_size > 10_000


class Reader(html.parser.HTMLParser):
    """Counts the tags that are not closed, and keeps the text and the sources of images."""

    def __init__(self):
        super().__init__()
        self.open, self.words, self.sources = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_is_whole_and_needs_no_network():
    found = {
        "measure": "accuracy",
        "different_settings": {"corpus": ["<b>.csv", None]},
        "runs": [{"folder": "a", "seed": 0}, {"folder": "b", "seed": 0}],
        "groups": [
            {"label": "corpus=<b>.csv", "folders": ["a"], "mean": 0.5, "standard_deviation": None}
        ],
        "tests": [
            {"one": "a", "other": "b", "difference": 0.1, "p_value": 0.03, "method": "McNemar"}
        ],
    }
    reader = Reader()
    reader.feed(comparison_page.build(found, b"picture", ["epsilon 2", ""]))
    assert reader.open == []
    text = " ".join(reader.words)
    for shown in ("corpus=<b>.csv", "+0.1000", "0.03", "epsilon 2", "McNemar"):
        assert shown in text
    assert all(source.startswith("data:image/png;base64,") for source in reader.sources)


def test_predictions_come_back(tmp_path):
    path = tmp_path / "predictions.csv"
    labels, predicted = np.array([0, 1, 1]), np.array([0, 0, 1])
    predicted_labels.write(path, labels, predicted, ('a "quoted", name', "b"))
    np.testing.assert_array_equal(predicted_labels.read_right(path), [True, False, True])
