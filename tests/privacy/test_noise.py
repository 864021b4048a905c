"""Noise of tensors. test_clipped_mean.py tests the noise of whole rounds."""

import numpy as np
import tensorflow as tf
from scipy import stats

from tff_nlp.privacy import keystream, noise
from tff_nlp.privacy.noise_secret import NoiseSecret

KEY = tf.constant(NoiseSecret(bytes(32)).key("test"))


def test_a_large_tensor_is_as_random_as_a_small_one():
    """It is drawn in pieces. The pieces differ, and all numbers are standard normal."""
    piece = 8 * keystream.PIECE
    size = 2 * piece + 5
    (drawn,) = noise.standard_normals(KEY, [[size]])
    values = drawn.numpy()
    assert values.shape == (size,) and values.dtype == np.float64
    assert stats.kstest(values, "norm").pvalue > 1e-6
    assert abs(np.corrcoef(values[:piece], values[piece : 2 * piece])[0, 1]) < 5 / np.sqrt(piece)
    # The two numbers of a pair, and their magnitudes, are uncorrelated.
    pairs = values[:piece].reshape(2, -1)
    for a, b in (pairs, np.abs(pairs)):
        assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(piece / 2)
    np.testing.assert_array_equal(drawn, noise.standard_normals(KEY, [[size]])[0])


def test_draws_and_tensors_of_one_key_share_nothing():
    shapes = [[10, 200], [2000]]
    drawn = [noise.standard_normals(KEY, shapes, draw) for draw in (0, 1, 2**31)]
    flat = [part.numpy().ravel() for tensors in drawn for part in tensors]
    correlations = np.corrcoef(flat) - np.eye(len(flat))
    assert np.abs(correlations).max() < 6 / np.sqrt(2000)


def test_a_grid_is_a_power_of_two_of_about_a_sixteenth_of_the_deviation():
    values = tf.constant([0.7, -3.3, 100.1], tf.float64)
    for stddev in (1.0, 1.99, 0.3):
        grid = 2.0 ** np.floor(np.log2(stddev)) / 16
        snapped = noise.snap(values, tf.constant(stddev, tf.float64)).numpy()
        np.testing.assert_array_equal(snapped % grid, 0)
        assert np.abs(snapped - values).max() <= grid / 2
