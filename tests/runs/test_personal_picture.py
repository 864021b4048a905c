"""The picture of scores before and after, as far as a program can check it."""

import numpy as np

from tff_nlp.runs import personal_picture
from tff_nlp.runs.personal_scores import ClientScore, PersonalScores
from tff_nlp.tasks import classification


def test_a_point_per_client_and_the_diagonal(tmp_path, drawn):
    clients = (
        ClientScore("a", 10, True, 2, 0.5, 0.7),
        ClientScore("b", 10, True, 0, 0.8, 0.8),
        ClientScore("c", 10, False, None, 0.6, 0.6),
    )
    scores = PersonalScores("fine_tune", classification.REPORT, clients)
    personal_picture.draw(scores, tmp_path / "personal.png", title="reviews")
    assert (tmp_path / "personal.png").read_bytes().startswith(b"\x89PNG")
    (axes,) = drawn[0].axes
    part, never = (np.asarray(dots.get_offsets()) for dots in axes.collections)
    np.testing.assert_allclose(part, [[0.5, 0.7], [0.8, 0.8]])
    np.testing.assert_allclose(never, [[0.6, 0.6]])
    (diagonal,) = axes.lines
    assert diagonal.get_slope() == 1
    assert axes.get_xlabel() == "accuracy, final model"
