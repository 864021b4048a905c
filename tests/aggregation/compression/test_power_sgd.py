"""Matrices of low rank against NumPy's singular values."""

import numpy as np
import pytest

from tests.aggregation.compression import updates
from tff_nlp import errors
from tff_nlp.aggregation.compression import power_sgd


def test_a_matrix_of_this_rank_comes_back():
    generator = np.random.default_rng(0)
    matrix = np.float32(generator.normal(size=(30, 3)) @ generator.normal(size=(3, 40)))
    (found,) = updates.back(power_sgd.PowerSgd(3), [matrix])
    np.testing.assert_allclose(found, matrix, atol=1e-4)


def test_the_error_is_near_that_of_the_best_matrix_of_the_rank():
    generator = np.random.default_rng(1)
    left, right = (np.linalg.qr(generator.normal(size=(40, 40)))[0] for _ in range(2))
    values = 0.7 ** np.arange(40)
    matrix = np.float32(left * values @ right)
    (found,) = updates.back(power_sgd.PowerSgd(4), [matrix])
    best = np.linalg.norm(values[4:])
    assert best * 0.999 < np.linalg.norm(found - matrix) < best * 1.1
    assert np.linalg.matrix_rank(found, tol=1e-4) == 4
    # It is a projection, which does not make an update longer.
    assert np.linalg.norm(found) <= np.linalg.norm(matrix)


def test_what_would_not_become_smaller_is_sent_whole():
    update = updates.update()
    found = updates.back(power_sgd.PowerSgd(3), update)
    for number in (1, 3):
        np.testing.assert_array_equal(found[number], update[number])
    # 30 x 40, and 6 x 4 x 5 as 6 x 20.
    assert updates.sent_bytes(power_sgd.PowerSgd(3), update) == 4 * (3 * 70 + 40 + 3 * 26 + 1)
    whole = updates.back(power_sgd.PowerSgd(20), update)
    for one, other in zip(whole, update, strict=True):
        np.testing.assert_array_equal(one, other)


def test_zeros_stay_zeros():
    (found,) = updates.back(power_sgd.PowerSgd(2), [np.zeros((20, 30), np.float32)])
    np.testing.assert_array_equal(found, 0)


def test_a_rank_is_at_least_1():
    with pytest.raises(errors.UserError, match="compression_rank"):
        power_sgd.PowerSgd(0)
