"""Signs and mean magnitudes, as NumPy computes them."""

import numpy as np

from tests.aggregation.compression import updates
from tff_nlp.aggregation.compression import signs


def test_each_tensor_has_its_signs_and_its_mean_magnitude():
    update = updates.update()
    for found, part in zip(updates.back(signs.Signs(), update), update, strict=True):
        expected = np.where(part >= 0, 1, -1) * np.abs(part).mean()
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_bytes_are_one_bit_a_number_and_one_number_a_tensor():
    assert updates.sent_bytes(signs.Signs(), updates.update()) == (updates.SIZE + 7) // 8 + 4 * 4


def test_zeros_stay_zeros():
    (found,) = updates.back(signs.Signs(), [np.zeros(9, np.float32)])
    np.testing.assert_array_equal(found, 0)
