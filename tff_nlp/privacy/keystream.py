"""ChaCha20 as TensorFlow operations: the random words behind all noise that protects people.

Philox, TensorFlow's generator, has good statistics and a 64-bit key, but nobody claims that its
numbers cannot be predicted from others of them. ChaCha20 (RFC 8439, section 2.3) is a stream cipher
with a key of 256 bits. It runs inside the graph, so that it works on a server, on a client, in Ray
and in TFF's worker alike, and no keystream travels with the state of a round.
"""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

# uint32[8], as the state of a round carries it.
KEY_SPEC = tf.TensorSpec([8], tf.uint32)
# "expand 32-byte k" of RFC 8439.
_CONSTANTS = np.frombuffer(b"expand 32-byte k", np.uint32)
# Words of a block, and blocks that are computed at once: they fit a processor's cache.
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
    """Returns RFC 8439's quarter round of uint32[4, blocks] rows, the four columns at once."""
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
    """Returns uint32[16, count], consecutive blocks of the keystream.

    Args:
      key: uint32[8], the 256 bits in little-endian words.
      nonce: Three integers below 2^32. No two draws of a key may share a nonce.
      first: Number of the first block, below 2^32.
      count: How many blocks.
    """
    ones = tf.ones([1, count], tf.uint32)
    words = tf.stack([tf.cast(part, tf.uint32) for part in nonce])
    counters = tf.cast(first, tf.uint32) + tf.cast(tf.range(count), tf.uint32)
    a = tf.constant(_CONSTANTS)[:, tf.newaxis] * ones
    b, c = key[:4, tf.newaxis] * ones, key[4:, tf.newaxis] * ones
    d = tf.concat([counters[tf.newaxis], words[:, tf.newaxis] * ones], axis=0)
    start = (a, b, c, d)
    # A loop and not ten copies: some models have many tensors, and graphs are copied often.
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
    """Returns uint32[16, PIECE], the blocks of one piece, from the words of the nonce.

    XLA makes one loop of the 600 operations, which takes a sixth of the time. It compiles this
    once, in a third of a second, and the words are the same.
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
    """Returns dtype[size] numbers made from the keystream, piece by piece.

    Args:
      key: uint32[8].
      nonce: As for `blocks`.
      size: How many numbers.
      per_block: How many numbers a block gives.
      convert: uint32[16, blocks] to dtype[per_block * blocks] numbers.
      dtype: Type of the numbers.
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
    """Returns float64 numbers above 0 and up to 1, from 64 bits each."""
    whole = tf.cast(high, tf.float64) * 2.0**-32
    return whole + (tf.cast(low, tf.float64) + 0.5) * 2.0**-64


def _normals_of(words: tf.Tensor) -> tf.Tensor:
    high, low, other_high, other_low = tf.unstack(tf.reshape(words, [4, -1]))
    radius = tf.sqrt(-2.0 * tf.math.log(_unit(high, low)))
    angle = (2 * np.pi) * _unit(other_high, other_low)
    return tf.concat([radius * tf.cos(angle), radius * tf.sin(angle)], axis=0)


def standard_normals(key: tf.Tensor, nonce: Nonce, size: int) -> tf.Tensor:
    """Returns float64[size] independent standard normal numbers, up to 9.49 in magnitude.

    Box and Muller's method on uniform numbers of 64 bits, so that the tail ends where its
    probability is 2^-65. An all-zero key, which is what a state holds before anybody gave it one,
    makes all of them NaN.

    Args:
      key: uint32[8].
      nonce: As for `blocks`.
      size: How many numbers.
    """
    drawn = expand(key, nonce, size, 8, _normals_of, tf.float64)
    return tf.where(is_given(key), drawn, tf.constant(np.nan, tf.float64))


def integers_of(words: tf.Tensor) -> tf.Tensor:
    """Returns int64[8 blocks] integers, uniform from 0 to 2^63 - 1, from uint32[16, blocks]."""
    high, low = tf.unstack(tf.reshape(words, [2, -1]))
    high = tf.cast(tf.bitwise.right_shift(high, tf.constant(1, tf.uint32)), tf.int64)
    return tf.bitwise.left_shift(high, tf.constant(32, tf.int64)) + tf.cast(low, tf.int64)


def uniform_integers(key: tf.Tensor, nonce: Nonce, size: int) -> tf.Tensor:
    """Returns int64[size] independent integers, uniform from 0 to 2^63 - 1.

    Args:
      key: uint32[8].
      nonce: As for `blocks`.
      size: How many numbers.
    """
    return expand(key, nonce, size, 8, integers_of, tf.int64)


def is_given(key: tf.Tensor) -> tf.Tensor:
    """Returns bool, whether a key is there; all zeros stand for none.

    Args:
      key: uint32[8].
    """
    return tf.reduce_any(tf.not_equal(key, tf.zeros([8], tf.uint32)))
