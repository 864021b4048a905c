"""Bits against NumPy, and positions that come back from few bytes."""

import numpy as np
import pytest
import tensorflow as tf

from tff_nlp.aggregation.compression import bits


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 1000])
def test_bits_are_packed_as_numpy_packs_them(size):
    flags = np.random.default_rng(size).random(size) < 0.5
    packed = bits.pack(tf.constant(flags))
    np.testing.assert_array_equal(packed, np.packbits(flags, bitorder="little"))
    np.testing.assert_array_equal(bits.unpack(packed, size), flags)


@pytest.mark.parametrize(
    ("kept", "size", "most"),
    [(1, 1, 1), (3, 10, 2), (10, 10, 3), (700, 70_000, 900), (70, 70_000, 120), (99, 2**24, 260)],
)
def test_positions_come_back_from_few_bytes(kept, size, most):
    positions = np.sort(np.random.default_rng(0).choice(size, kept, replace=False))
    packed, row = bits.pack_positions(tf.constant(positions, tf.int32), size)
    back = bits.unpack_positions(packed, row, kept, size)
    np.testing.assert_array_equal(back, positions)
    assert len(packed) + len(row) <= most


@pytest.mark.parametrize("positions", [[0, 1, 2], [997, 998, 999], [0, 500, 999]])
def test_positions_at_the_ends_come_back(positions):
    packed = bits.pack_positions(tf.constant(positions), 1000)
    np.testing.assert_array_equal(bits.unpack_positions(*packed, 3, 1000), positions)
