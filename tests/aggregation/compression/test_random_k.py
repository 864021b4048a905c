"""Random numbers: the right expected value, few bytes, and all numbers if all are sent."""

import numpy as np
import tensorflow as tf

from tests.aggregation.compression import updates
from tff_nlp.aggregation.compression import random_k


def test_the_mean_over_seeds_is_the_update():
    """Within 6 standard errors: a number x has the variance (m - 1) x^2 in a part of size m."""
    update, draws = updates.update(shapes=((50,), (3, 7))), 400
    codec = random_k.RandomK(0.25)
    shapes = [tf.TensorShape(part.shape) for part in update]
    parts = list(map(tf.constant, update))
    # The seed is an argument, so that one graph draws all.
    back = tf.function(lambda seed: codec.decode(codec.encode(parts, seed), shapes))
    found = np.array([updates.joined(back(tf.constant([0, s]))) for s in range(draws)])
    exact = updates.joined(update)
    error = np.abs(found.mean(0) - exact) / np.abs(exact)
    assert error.max() < 6 * np.sqrt(3 / draws)
    # In each draw, a quarter of the numbers is there, at different places.
    assert ((found != 0).sum(1) == 18).all()
    assert (found != 0).any(0).all()


def test_parts_of_unequal_size_are_scaled_by_their_own_size():
    update = (np.ones(10, np.float32),)
    found = updates.joined(updates.back(random_k.RandomK(0.3), update))
    assert sorted(found[found > 0]) == [3, 3, 4] and found.sum() == 10


def test_all_numbers_are_the_update():
    update = updates.update()
    for one, other in zip(updates.back(random_k.RandomK(1.0), update), update, strict=True):
        np.testing.assert_array_equal(one, other)


def test_bytes_are_those_of_the_numbers_and_a_seed():
    assert updates.sent_bytes(random_k.RandomK(0.1), updates.update()) == 137 * 4 + 8
