"""Scores ignore padding and include ends of texts. Perplexity is per token."""

import math

import numpy as np
import pytest
import tensorflow as tf

from tff_nlp.models import next_token

END, PAD = 0, 5


def test_uniform_logits_have_the_vocabularys_perplexity():
    ids = tf.constant([[END, 1, 2, END], [END, 3, PAD, PAD]])
    mask = ids != PAD
    scores = next_token.score(tf.zeros([2, 4, 5]), ids, mask)
    total, tokens = tf.reduce_sum(scores.losses), tf.reduce_sum(scores.weights)
    assert float(tokens) == 4
    assert next_token.perplexity(float(total), float(tokens)) == pytest.approx(5, rel=1e-6)


def test_scores_by_hand():
    """All tokens except the first are predicted, including the end. Padding is ignored."""
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(3, 5, 5)).astype(np.float32)
    texts = [[END, 1, 2, 3, END], [END, 4, END], [END]]
    ids = np.full((3, 5), PAD, np.int32)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = text
    mask = ids != PAD
    scores = next_token.score(tf.constant(logits), tf.constant(ids), tf.constant(mask))
    for row, text in enumerate(texts):
        for place in range(4):
            counts = place + 1 < len(text)
            assert float(scores.weights[row, place]) == counts
            if not counts:
                assert float(scores.losses[row, place]) == float(scores.right[row, place]) == 0
                continue
            shares = np.exp(logits[row, place].astype(np.float64))
            expected = -math.log(shares[text[place + 1]] / shares.sum())
            assert float(scores.losses[row, place]) == pytest.approx(expected, rel=1e-5)
            best = int(logits[row, place].argmax())
            assert float(scores.right[row, place]) == (best == text[place + 1])


def test_padding_has_no_gradient():
    ids, mask = tf.constant([[END, 1, PAD]]), tf.constant([[True, True, False]])
    logits = tf.constant(np.array([[[0.0, 1, 2], [0, 9, 0], [0, 0, 9]]], np.float32))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = tf.reduce_sum(next_token.score(logits, ids, mask).losses)
    gradient = tape.gradient(loss, logits).numpy()
    assert np.abs(gradient[0, 0]).sum() > 0
    assert (gradient[0, 1:] == 0).all()


def test_perplexity_without_tokens_and_of_huge_losses():
    assert math.isnan(next_token.perplexity(0.0, 0))
    assert next_token.perplexity(1e9, 1) == math.inf
    assert next_token.perplexity(0.0, 3) == 1


def test_targets_are_all_tokens_but_the_first_of_each_text():
    tokens = np.array([END, 1, 2, END, END, 2, END, END], np.uint16)
    offsets = np.array([0, 4, 4, 7, 8])
    counts = next_token.count_targets(tokens, offsets, 4)
    assert counts.tolist() == [2, 1, 2, 0]
    assert counts.dtype == np.int64


def test_unigram_baseline_by_hand():
    """The counts 2, 1, 0 become the probabilities 3/6, 2/6, 1/6. The test tokens are 0, 0, 2."""
    train, test = np.array([2, 1, 0]), np.array([2, 0, 1])
    expected = ((3 / 6) * (3 / 6) * (1 / 6)) ** (-1 / 3)
    assert next_token.unigram_perplexity(train, test) == pytest.approx(expected)
    nothing = np.zeros(3, np.int64)
    assert next_token.unigram_perplexity(nothing, test) == pytest.approx(3)
    assert math.isnan(next_token.unigram_perplexity(train, nothing))
