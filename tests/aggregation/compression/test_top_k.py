"""The largest numbers, as NumPy finds them."""

import numpy as np
import pytest
import tensorflow as tf

from tests.aggregation.compression import updates
from tff_nlp import errors
from tff_nlp.aggregation.compression import rounding, top_k


@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.7])
def test_the_largest_numbers_are_sent_as_they_are(fraction):
    update = updates.update()
    numbers = updates.joined(update)
    kept = int(np.ceil(fraction * len(numbers)))
    expected = np.zeros_like(numbers)
    largest = np.argsort(-np.abs(numbers))[:kept]
    expected[largest] = numbers[largest]
    found = updates.back(top_k.TopK(fraction), update)
    assert [part.shape for part in found] == list(updates.SHAPES)
    np.testing.assert_array_equal(updates.joined(found), expected)


def test_all_numbers_are_the_update():
    update = updates.update()
    for one, other in zip(updates.back(top_k.TopK(1.0), update), update, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("numbers", "kept", "expected"),
    [
        ([1.0, 1.0, 1.0, 1.0], 2, [0, 1]),
        ([1.0, 2.0, 1.0, 3.0, 1.0], 3, [0, 1, 3]),
        ([0.0, 0.0, 5.0, 0.0], 2, [0, 2]),
        ([0.0, 0.0], 1, [0]),
    ],
)
def test_of_equal_numbers_the_first_count(numbers, kept, expected):
    np.testing.assert_array_equal(top_k.largest(tf.constant(numbers), kept), expected)


def test_bytes_are_those_of_numbers_and_positions():
    update = updates.update()
    kept = 14
    # Positions below 1,361: a byte each, and a row of 14 + 5 bits.
    assert updates.sent_bytes(top_k.TopK(0.01), update) == kept * 4 + kept + 3
    rounded = top_k.TopK(0.01, rounding.Rounding(8))
    assert updates.sent_bytes(rounded, update) == kept + 4 + kept + 3
    largest = np.abs(updates.joined(update)).max()
    exact = updates.back(top_k.TopK(0.01), update)
    near = updates.back(rounded, update)
    difference = np.abs(updates.joined(exact) - updates.joined(near)).max()
    assert 0 < difference < largest / 127 * 1.001


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.1, float("nan")])
def test_no_other_fraction_is_possible(fraction):
    with pytest.raises(errors.UserError, match="compression_fraction"):
        top_k.TopK(fraction)
