"""ChaCha20 as TensorFlow operations, the random generator of all noise that protects people.

TensorFlow's generator Philox has good statistics and a 64-bit key, but it is not cryptographic: its
numbers may be predictable from other numbers. ChaCha20 (RFC 8439, section 2.3) is a stream cipher
with a key of 256 bits. It runs inside the graph, so it works in the same way on a server, on a
client, in Ray and in TFF's worker, and the state of a round does not need to hold a keystream.
"""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

# Spec of a key, as in the state of a round.
KEY_SPEC = tf.TensorSpec([8], tf.uint32)
# The constants of RFC 8439.
_CONSTANTS = np.frombuffer(b"expand 32-byte k", np.uint32)
# Number of words in a block, and number of blocks that are computed together. They fit into a
# processor's cache.
WORDS = 16
PIECE = 4096

Nonce = Sequence[tf.Tensor | int]


def _rotate(words: tf.Tensor, bits: int) -> tf.Tensor:
    left = tf.bitwise.left_shift(words, tf.constant(bits, tf.uint32))
    right = tf.bitwise.right_shift(words, tf.constant(32 - bits, tf.uint32))
    return tf.bitwise.bitwise_or(left, right)


def _quarter_round(
    a: tf.Tensor, b: tf.Tensor, c: tf.Tensor, d: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns RFC 8439's quarter round of uint32[4, blocks] rows, for all four columns at once."""
    a = a + b
    d = _rotate(tf.bitwise.bitwise_xor(d, a), 16)
    c = c + d
    b = _rotate(tf.bitwise.bitwise_xor(b, c), 12)
    a = a + b
    d = _rotate(tf.bitwise.bitwise_xor(d, a), 8)
    c = c + d
    b = _rotate(tf.bitwise.bitwise_xor(b, c), 7)
    return a, b, c, d


def _double_round(
    a: tf.Tensor, b: tf.Tensor, c: tf.Tensor, d: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the rows after a round of the columns and a round of the diagonals."""
    a, b, c, d = _quarter_round(a, b, c, d)
    a, b, c, d = _quarter_round(a, _turn(b, 1), _turn(c, 2), _turn(d, 3))
    return a, _turn(b, 3), _turn(c, 2), _turn(d, 1)


def _turn(rows: tf.Tensor, by: int) -> tf.Tensor:
    return tf.concat([rows[by:], rows[:by]], axis=0)


def blocks(key: tf.Tensor, nonce: Nonce, first: tf.Tensor | int, count: int) -> tf.Tensor:
    """Returns consecutive blocks of the keystream, uint32[16, count].

    Args:
      key: The 256 bits of the key in little-endian words, uint32[8].
      nonce: Three integers below 2^32. Each draw with the same key needs a different nonce.
      first: Number of the first block, below 2^32.
      count: Number of blocks.
    """
    ones = tf.ones([1, count], tf.uint32)
    words = tf.stack([tf.cast(part, tf.uint32) for part in nonce])
    counters = tf.cast(first, tf.uint32) + tf.cast(tf.range(count), tf.uint32)
    a = tf.constant(_CONSTANTS)[:, tf.newaxis] * ones
    b, c = key[:4, tf.newaxis] * ones, key[4:, tf.newaxis] * ones
    d = tf.concat([counters[tf.newaxis], words[:, tf.newaxis] * ones], axis=0)
    start = (a, b, c, d)
    # A loop keeps the graph small. Some models have many tensors, and graphs are copied often.
    _, *ended = tf.while_loop(
        lambda number, *rows: number < 10,
        lambda number, *rows: (number + 1, *_double_round(*rows)),
        (tf.zeros([], tf.int32), *start),
        parallel_iterations=1,
    )
    return tf.concat([rows + initial for rows, initial in zip(ended, start, strict=True)], axis=0)


@tf.function(
    input_signature=[KEY_SPEC, *[tf.TensorSpec([], tf.uint32)] * 3, tf.TensorSpec([], tf.int32)],
    jit_compile=True,
    autograph=False,
)
def _piece(
    key: tf.Tensor, first: tf.Tensor, second: tf.Tensor, third: tf.Tensor, number: tf.Tensor
) -> tf.Tensor:
    """Returns the blocks of one piece, uint32[16, PIECE], from the words of the nonce.

    XLA makes one loop of the 600 operations, which takes a sixth of the time and gives the same
    words. Compiling it takes a third of a second, once.
    """
    return blocks(key, (first, second, third), number * PIECE, PIECE)


def expand(
    key: tf.Tensor,
    nonce: Nonce,
    size: int,
    per_block: int,
    convert: Callable[[tf.Tensor], tf.Tensor],
    dtype: tf.DType,
) -> tf.Tensor:
    """Returns numbers that are made from the keystream, dtype[size]. It works piece by piece.

    Args:
      key: Key, uint32[8].
      nonce: Nonce, as for `blocks`.
      size: Number of values.
      per_block: Number of values from one block.
      convert: Function uint32[16, blocks] -> dtype[per_block * blocks].
      dtype: Type of the values.
    """
    needed = -(-size // per_block)
    if needed <= PIECE:
        return convert(blocks(key, nonce, 0, needed))[:size]
    words = [tf.cast(part, tf.uint32) for part in nonce]
    pieces = tf.map_fn(
        lambda piece: convert(_piece(key, *words, piece)),
        tf.range(-(-needed // PIECE)),
        fn_output_signature=tf.TensorSpec([per_block * PIECE], dtype),
    )
    return tf.reshape(pieces, [-1])[:size]


def _unit(high: tf.Tensor, low: tf.Tensor) -> tf.Tensor:
    """Returns float64 numbers above 0 and at most 1, from 64 bits each."""
    whole = tf.cast(high, tf.float64) * 2.0**-32
    return whole + (tf.cast(low, tf.float64) + 0.5) * 2.0**-64


def _normals_of(words: tf.Tensor) -> tf.Tensor:
    high, low, other_high, other_low = tf.unstack(tf.reshape(words, [4, -1]))
    radius = tf.sqrt(-2.0 * tf.math.log(_unit(high, low)))
    angle = (2 * np.pi) * _unit(other_high, other_low)
    return tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], axis=0)


def standard_normals(key: tf.Tensor, nonce: Nonce, size: int) -> tf.Tensor:
    """Returns independent standard normal numbers, float64[size].

    It uses the Box-Muller method on uniform numbers of 64 bits. So the magnitude is at most 9.49,
    where the probability of the tail is 2^-65. A key of zeros means that the state has no key; then
    all numbers are NaN.

    Args:
      key: Key, uint32[8].
      nonce: Nonce, as for `blocks`.
      size: Number of values.
    """
    drawn = expand(key, nonce, size, 8, _normals_of, tf.float64)
    return tf.where(is_given(key), drawn, tf.constant(np.nan, tf.float64))


def integers_of(words: tf.Tensor) -> tf.Tensor:
    """Converts words, uint32[16, blocks], to uniform integers below 2^63, int64[8 * blocks]."""
    high, low = tf.unstack(tf.reshape(words, [2, -1]))
    high = tf.cast(tf.bitwise.right_shift(high, tf.constant(1, tf.uint32)), tf.int64)
    return tf.bitwise.left_shift(high, tf.constant(32, tf.int64)) + tf.cast(low, tf.int64)


def is_given(key: tf.Tensor) -> tf.Tensor:
    """Returns whether there is a key, bool. A key of zeros means that there is none.

    Args:
      key: Key, uint32[8].
    """
    return tf.reduce_any(tf.not_equal(key, tf.zeros([8], tf.uint32)))
