"""ROUGE by hand, and the matching of texts."""

import pytest

from tff_nlp.privacy.inversion import rouge

TEXT = ["the", "cat", "sat", "on", "the", "mat"]


@pytest.mark.parametrize(
    ("other", "one", "two"),
    [
        ("the cat sat on the mat", 1.0, 1.0),
        ("mat the on sat cat the", 1.0, 0.0),
        # Five of six and five words; four of five and four pairs.
        ("the cat sat on the", 2 * 5 / 11, 2 * 4 / 9),
        ("the the the", 2 * 2 / 9, 0.0),
        ("dogs", 0.0, 0.0),
        ("", 0.0, 0.0),
    ],
)
def test_rouge_counts_common_words_and_pairs(other, one, two):
    assert rouge.rouge(TEXT, other.split(), 1) == pytest.approx(one)
    assert rouge.rouge(TEXT, other.split(), 2) == pytest.approx(two)
    assert rouge.rouge(other.split(), TEXT, 1) == pytest.approx(one)


def test_short_texts_have_no_pairs():
    assert rouge.rouge(["good"], ["good"], 2) == 1.0
    assert rouge.rouge(["good"], ["bad"], 2) == 0.0


def test_texts_are_matched_whatever_their_order():
    texts = [TEXT, ["a", "good", "film"], ["a", "bad", "film"]]
    found = rouge.compare(texts, [texts[2], TEXT, texts[1]])
    assert found == rouge.Scores(1.0, 1.0, 1.0)
    half = rouge.compare(texts, [["good", "a", "film"]])
    assert half.rouge_1 == pytest.approx(1 / 3)
    assert half.rouge_2 == 0.0 and half.exact == 0.0
    assert rouge.compare(texts, []) == rouge.Scores(0.0, 0.0, 0.0)
