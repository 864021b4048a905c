"""Random numbers of the noise; test_clipped_mean.py has the noise of whole rounds."""

import numpy as np
import tensorflow as tf

from tff_nlp.privacy import noise


def test_a_large_tensor_is_as_random_as_a_small_one():
    """It is drawn in pieces: they differ, and all of it is standard normal."""
    size = 2 * noise._PIECE + 5
    (drawn,) = noise.standard_normals(tf.constant([1, 2]), [[size]])
    values = drawn.numpy().astype(float)
    assert values.shape == (size,)
    assert abs(values.mean()) < 5 / np.sqrt(size)
    assert abs(values.std() - 1) < 5 / np.sqrt(2 * size)
    piece = noise._PIECE
    assert abs(np.corrcoef(values[:piece], values[piece : 2 * piece])[0, 1]) < 5 / np.sqrt(piece)
    (again,) = noise.standard_normals(tf.constant([1, 2]), [[size]])
    np.testing.assert_array_equal(drawn, again)
