"""The picture of a confusion matrix, as far as a program can see it."""

import warnings

import numpy as np
import pytest
from matplotlib import image

from tff_nlp import errors
from tff_nlp.runs.confusion_picture import draw_confusion


def test_confusion_holds_the_counts(tmp_path, drawn):
    path = tmp_path / "confusion.png"
    draw_confusion([[8, 2], [0, 1234]], ["neg", "pos"], path, title="t")
    axes = drawn[0].axes[0]
    assert [text.get_text() for text in axes.texts] == ["8", "2", "0", "1,234"]
    assert np.allclose(axes.images[0].get_array(), [[0.8, 0.2], [0, 1]])
    assert [text.get_text() for text in axes.get_yticklabels()] == ["neg", "pos"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")


@pytest.mark.parametrize("labels", [2, 25, 300, 1000])
def test_many_labels_fit(tmp_path, labels):
    path = tmp_path / "confusion.png"
    names = [f"label {number}" for number in range(labels)]
    draw_confusion(np.ones([labels, labels], int), names, path, title="t")
    height, width = image.imread(path).shape[:2]
    assert 300 < height <= width < 2000


def test_a_label_that_never_occurs_is_no_division_by_zero(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_confusion([[0, 0], [1, 1]], ["a", "b"], tmp_path / "c.png", title="t")


def test_odd_names_neither_fail_nor_warn(tmp_path):
    names = ["costs $5 or $x_{", "外卖", "a" * 200, ""]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_confusion(np.eye(4, dtype=int), names, tmp_path / "c.png", title="$")


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.RunError, match=r"c\.png: cannot be written"):
        draw_confusion([[1, 0], [0, 1]], "ab", tmp_path / "file" / "c.png", title="t")
