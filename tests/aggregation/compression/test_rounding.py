"""Rounded numbers: unbiased, precise to one level, and few bytes."""

import numpy as np
import pytest
import tensorflow as tf

from tests.aggregation.compression import updates as examples
from tff_nlp import errors
from tff_nlp.aggregation.compression import rounding

LEVELS = {8: 127, 4: 7}


def updates(count):
    return [examples.update(seed, ((7, 5), (3,), ())) for seed in range(count)]


@pytest.mark.parametrize("bits", rounding.BITS)
def test_a_tensor_is_within_a_level_and_packed(bits):
    values = tf.constant(updates(1)[0][0])
    packed, step = rounding.quantize(values, bits, tf.constant([1, 2]))
    assert packed.dtype == tf.uint8
    assert packed.shape == [35 if bits == 8 else 18]
    np.testing.assert_allclose(step, np.abs(values).max() / LEVELS[bits], rtol=1e-6)
    back = rounding.dequantize(packed, step, bits, values.shape)
    # At most 127 levels, which float32 rounds by 2^-24 of themselves: 1e-5 of a level.
    assert np.abs(back - values).max() < step * 1.00001
    # The largest is a level itself.
    largest = np.unravel_index(np.abs(values).argmax(), values.shape)
    np.testing.assert_allclose(back.numpy()[largest], values.numpy()[largest], rtol=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize("bits", rounding.BITS)
def test_rounding_is_unbiased(bits):
    """The mean over many seeds is the value within 5 standard errors, each at most half a level."""
    values, draws = tf.constant(updates(1)[0][0]), 4000

    @tf.function
    def back(seed):
        packed, step = rounding.quantize(values, bits, seed)
        return rounding.dequantize(packed, step, bits, values.shape)

    total = sum(back(tf.constant([5, n])).numpy().astype(float) for n in range(draws))
    bound = 5 * 0.5 * np.abs(values).max() / LEVELS[bits] / np.sqrt(draws)
    assert np.abs(total / draws - values).max() < bound


@pytest.mark.parametrize("bits", rounding.BITS)
def test_zeros_stay_zeros(bits):
    for values in (np.zeros([4, 3]), np.array([0.0, 0.0, 2.0]), np.zeros([0, 3])):
        values = tf.constant(values, tf.float32)
        packed, step = rounding.quantize(values, bits, tf.constant([1, 2]))
        np.testing.assert_array_equal(rounding.dequantize(packed, step, bits, values.shape), values)


def test_no_other_number_of_bits_is_possible():
    with pytest.raises(errors.UserError, match="upload_bits=2"):
        rounding.Rounding(2)
