"""The pictures of a run, as far as a program can see them."""

import warnings

import numpy as np
import pytest
from matplotlib import image
from matplotlib.figure import Figure

from tff_nlp import errors
from tff_nlp.program import pictures

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


@pytest.fixture
def drawn(monkeypatch):
    """Keeps the figures that are saved."""
    figures = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, *a, **k: (figures.append(figure), save(figure, *a, **k))
    )
    return figures


def test_curves_hold_the_numbers(tmp_path, drawn):
    pictures.draw_curves(ROWS, tmp_path / "curves.png", title="t", majority=0.4)
    left, right = drawn[0].axes
    curves = {line.get_label(): line.get_xydata().tolist() for line in left.lines + right.lines[:4]}
    assert curves["while training"] == [[1, 0.5], [2, 0.6]]  # The right one, accuracy.
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
    pictures.draw_curves(rows, tmp_path / "curves.png", title="t", majority=0.4)
    assert drawn[0].axes[0].get_xlabel() == "epoch"
    assert drawn[0].axes[0].lines[0].get_xydata().tolist() == [[0.5, 0.7]]


def test_confusion_holds_the_counts(tmp_path, drawn):
    path = tmp_path / "confusion.png"
    pictures.draw_confusion([[8, 2], [0, 1234]], ["neg", "pos"], path, title="t")
    axes = drawn[0].axes[0]
    assert [text.get_text() for text in axes.texts] == ["8", "2", "0", "1,234"]
    assert np.allclose(axes.images[0].get_array(), [[0.8, 0.2], [0, 1]])
    assert [text.get_text() for text in axes.get_yticklabels()] == ["neg", "pos"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")


@pytest.mark.parametrize("labels", [2, 25, 300, 1000])
def test_many_labels_fit(tmp_path, labels):
    path = tmp_path / "confusion.png"
    names = [f"label {number}" for number in range(labels)]
    pictures.draw_confusion(np.ones([labels, labels], int), names, path, title="t")
    height, width = image.imread(path).shape[:2]
    assert 300 < height <= width < 2000


def test_a_label_that_never_occurs_is_no_division_by_zero(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pictures.draw_confusion([[0, 0], [1, 1]], ["a", "b"], tmp_path / "c.png", title="t")


def test_odd_names_neither_fail_nor_warn(tmp_path):
    names = ["costs $5 or $x_{", "外卖", "a" * 200, ""]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pictures.draw_confusion(np.eye(4, dtype=int), names, tmp_path / "c.png", title="$")
        pictures.draw_curves(ROWS, tmp_path / "d.png", title="外卖 $x_{" * 50, majority=0.4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.png", "d.png"]


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.RunError, match=r"c\.png: cannot be written"):
        pictures.draw_confusion([[1, 0], [0, 1]], "ab", tmp_path / "file" / "c.png", title="t")
