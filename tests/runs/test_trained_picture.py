"""The picture of several trainings, as far as a program can see it."""

import types

import pytest

from tff_nlp import errors
from tff_nlp.runs import train, trained_picture
from tff_nlp.tasks import classification, language_model


def result(report, values, baseline):
    """Returns the result of a training with a score after every second round."""
    rows = [
        {"round": str(number), f"test_{report.headline}": value}
        for number, value in enumerate(values, 1)
    ]
    learner = types.SimpleNamespace(task=types.SimpleNamespace(report=report))
    return train.Trained(learner, None, {"test": types.SimpleNamespace(baseline=baseline)}, rows)


def test_it_has_a_line_for_each_training(tmp_path, drawn):
    results = {
        "one": result(classification.REPORT, ["", "0.5", "", "0.75"], 0.4),
        "two": result(classification.REPORT, ["", "0.6", "", "0.65"], 0.4),
    }
    trained_picture.draw(results, tmp_path / "curves.png", title="t")
    (axes,) = drawn[0].axes
    one, two, baseline = axes.lines
    assert one.get_xydata().tolist() == [[2, 0.5], [4, 0.75]]
    assert two.get_xydata().tolist() == [[2, 0.6], [4, 0.65]]
    assert set(baseline.get_ydata()) == {0.4}
    # They also differ in black and white.
    assert one.get_linestyle() != two.get_linestyle() and one.get_marker() != two.get_marker()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("round", "test accuracy")
    names = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert names == ["one", "two", "most frequent label"]
    assert (tmp_path / "curves.png").stat().st_size


def test_a_language_model_has_its_own_score(tmp_path, drawn):
    only = result(language_model.REPORT, ["90.5", "40.25"], 120.0)
    trained_picture.draw({"only": only}, tmp_path / "curves.png", title="t")
    (axes,) = drawn[0].axes
    assert axes.lines[0].get_xydata().tolist() == [[1, 90.5], [2, 40.25]]
    assert axes.get_ylabel() == "test perplexity"


def test_a_training_without_scores_is_refused(tmp_path):
    untested = train.Trained(None, None, {}, [])
    with pytest.raises(errors.UserError, match="test: one was trained without a test corpus"):
        trained_picture.draw({"one": untested}, tmp_path / "curves.png", title="t")
    with pytest.raises(errors.UserError, match="there are no results"):
        trained_picture.draw({}, tmp_path / "curves.png", title="t")
