"""The pictures of a run, as far as a program can check them."""

import warnings

import pytest
from matplotlib import image

from tff_nlp import errors
from tff_nlp.program import pictures
from tff_nlp.tasks import classification

ROWS = [
    {"round": "1", "train_loss": "0.7", "train_accuracy": "0.5", "test_loss": ""},
    {
        "round": "2",
        "train_loss": "0.6",
        "train_accuracy": "0.6",
        "test_loss": "0.65",
        "test_accuracy": "0.55",
        "clients_mean_accuracy": "0.5",
        "clients_worst_decile_accuracy": "0.25",
    },
]


def draw_curves(rows, path, title="t"):
    pictures.draw_curves(rows, path, classification.REPORT.panels, title=title, baseline=0.4)


def test_curves_hold_the_numbers(tmp_path, drawn):
    draw_curves(ROWS, tmp_path / "curves.png")
    left, right = drawn[0].axes
    curves = {line.get_label(): line.get_xydata().tolist() for line in left.lines + right.lines[:4]}
    assert curves["while training"] == [[1, 0.5], [2, 0.6]]  # The right panel shows accuracy.
    assert curves["test"] == [[2, 0.55]]
    assert curves["clients, worst tenth"] == [[2, 0.25]]
    assert left.lines[0].get_xydata().tolist() == [[1, 0.7], [2, 0.6]]
    labels = [text.get_text() for text in right.get_legend().get_texts()]
    assert labels[-1] == "most frequent label"
    assert "held-out clients, mean" not in labels
    assert left.get_xlabel() == "round"
    assert image.imread(tmp_path / "curves.png").shape[:2] == (552, 1200)


def test_central_curves_are_over_epochs(tmp_path, drawn):
    rows = [{"round": "1", "epoch": "0.5", "train_loss": "0.7"}]
    draw_curves(rows, tmp_path / "curves.png")
    assert drawn[0].axes[0].get_xlabel() == "epoch"
    assert drawn[0].axes[0].lines[0].get_xydata().tolist() == [[0.5, 0.7]]


def test_odd_titles_neither_fail_nor_warn(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_curves(ROWS, tmp_path / "d.png", title="外卖 $x_{" * 50)
    assert [path.name for path in tmp_path.iterdir()] == ["d.png"]


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.RunError, match=r"c\.png: cannot be written"):
        draw_curves(ROWS, tmp_path / "file" / "c.png")
