"""Booleans as single bits, and sorted positions in little more than a byte each."""

import math

import tensorflow as tf

_BYTE = 8
# The widths of the lower part of a position that are tried, in bits. They are whole bytes.
_WIDTHS = (0, 8, 16)


def pack(flags: tf.Tensor) -> tf.Tensor:
    """Returns booleans as single bits, uint8[ceil(size / 8)].

    Args:
      flags: bool tensor of one axis and a static size.
    """
    size = flags.shape[0]
    padded = tf.pad(tf.cast(flags, tf.uint8), [[0, -size % _BYTE]])
    rows = tf.reshape(padded, [-1, _BYTE])
    weights = tf.constant([1 << place for place in range(_BYTE)], tf.uint8)
    return tf.reduce_sum(rows * weights, axis=1)


def unpack(packed: tf.Tensor, size: int) -> tf.Tensor:
    """Returns the booleans of `pack`, bool[size]."""
    places = tf.constant(list(range(_BYTE)), tf.uint8)
    single = tf.bitwise.right_shift(packed[:, tf.newaxis], places) % 2
    return tf.reshape(single, [-1])[:size] > 0


def pack_positions(positions: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns sorted positions in few bytes: the code of Elias and Fano.

    The lower part of each position is sent as it is. The upper parts do not decrease; so they are
    sent as a row of bits, with a one for each position and a zero wherever the part grows by one.

    Args:
      positions: int32[k], different positions in ascending order; k is static.
      size: All positions are below it.

    Returns:
      The lower parts, uint8[k * width / 8], and the bits, uint8[ceil(bits / 8)].
    """
    kept = positions.shape[0]
    width = _width(kept, size)
    lower = tf.bitwise.bitwise_and(positions, (1 << width) - 1)
    parts = [
        tf.cast(tf.bitwise.bitwise_and(tf.bitwise.right_shift(lower, shift), 255), tf.uint8)
        for shift in range(0, width, _BYTE)
    ]
    packed = tf.reshape(tf.stack(parts, 1), [-1]) if parts else tf.zeros([0], tf.uint8)
    ones = tf.bitwise.right_shift(positions, width) + tf.range(kept)
    length = _length(kept, size, width)
    row = tf.scatter_nd(ones[:, tf.newaxis], tf.ones([kept], tf.int32), [length])
    return packed, pack(row > 0)


def unpack_positions(packed: tf.Tensor, row: tf.Tensor, kept: int, size: int) -> tf.Tensor:
    """Returns the positions of `pack_positions`, int32[kept].

    Args:
      packed: The lower parts.
      row: The bits.
      kept: The number of positions.
      size: As there.
    """
    width = _width(kept, size)
    ones = tf.where(unpack(row, _length(kept, size, width)))[:, 0]
    upper = tf.ensure_shape(tf.cast(ones, tf.int32) - tf.range(kept), [kept])
    positions = tf.bitwise.left_shift(upper, width)
    if width:
        parts = tf.cast(tf.reshape(packed, [kept, width // _BYTE]), tf.int32)
        for number, shift in enumerate(range(0, width, _BYTE)):
            positions += tf.bitwise.left_shift(parts[:, number], shift)
    return positions


def _length(kept: int, size: int, width: int) -> int:
    """Returns the number of bits of the upper parts."""
    return kept + max(size - 1, 0) // (1 << width)


def _width(kept: int, size: int) -> int:
    """Returns the width of the lower part with which the positions need the fewest bytes."""
    return min(
        _WIDTHS, key=lambda width: kept * width // _BYTE + math.ceil(_length(kept, size, width) / 8)
    )
