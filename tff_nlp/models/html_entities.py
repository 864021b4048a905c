"""Decodes HTML entities inside TensorFlow graphs, like Python's `html.unescape`."""

import html.entities
import re

import tensorflow as tf

# Longer names come first, because "&notin;" is one entity, not "&not" and "in;".
_NAMES = sorted(html.entities.html5, key=lambda name: (-len(name), name))
_ENTITY = "&(?:#[0-9]+;?|#[xX][0-9a-fA-F]+;?|" + "|".join(map(re.escape, _NAMES)) + ")"

# All control characters are below this number. HTML decodes some of them as characters of
# Windows-1252, and drops others.
_FIRST_PLAIN = 0xA0
_LOW = [html.unescape(f"&#{number};") for number in range(_FIRST_PLAIN)]
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_LAST = 0x10FFFF
# Maximum number of hexadecimal or decimal digits of a number up to `_LAST`. Further digits are
# leading zeros, or the number is too large.
_DIGITS = 7


def decode(texts: tf.Tensor) -> tf.Tensor:
    """Returns string[batch] with HTML entities such as "&lt;" and "&#39;" decoded.

    Args:
      texts: string[batch], UTF-8 without NUL characters, because they would end a text.
    """
    import tensorflow_text as tf_text

    parts = tf_text.regex_split(texts, _ENTITY, _ENTITY)
    flat = parts.flat_values
    is_entity = tf.strings.regex_full_match(flat, _ENTITY)
    entities, positions = tf.unique(tf.boolean_mask(flat, is_entity))
    characters = tf.where(
        tf.strings.regex_full_match(entities, "&#.*"), _numbered(entities), _named(entities)
    )
    flat = tf.tensor_scatter_nd_update(flat, tf.where(is_entity), tf.gather(characters, positions))
    return tf.strings.reduce_join(parts.with_flat_values(flat), axis=-1)


def _named(entities: tf.Tensor) -> tf.Tensor:
    """Returns string[n]: the characters of named entities. The result for others is arbitrary."""
    names = tf.constant([f"&{name}" for name in _NAMES])
    characters = tf.constant([html.entities.html5[name] for name in _NAMES])
    # A text has few distinct entities, so comparing with every name costs little.
    found = tf.argmax(tf.cast(entities[:, None] == names[None], tf.int32), axis=1)
    return tf.gather(characters, found)


def _numbered(entities: tf.Tensor) -> tf.Tensor:
    """Returns string[n]: the characters of "&#39;" and "&#x27;". Other results are arbitrary."""
    lower = tf.strings.lower(entities)
    base = tf.where(tf.strings.regex_full_match(lower, "&#x.*"), 16, 10)
    digits = tf.strings.unicode_decode(tf.strings.regex_replace(lower, "[^0-9a-f]", ""), "UTF-8")
    codes = digits.flat_values
    values = digits.with_flat_values(
        tf.where(codes >= ord("a"), codes - ord("a") + 10, codes - ord("0"))
    )
    # Least significant digits come first, so that digits of equal value are in one column.
    columns = values[:, ::-1].to_tensor(shape=[None, None])
    powers = tf.cast(base, tf.int64)[:, None] ** tf.range(_DIGITS, dtype=tf.int64)
    low = tf.pad(tf.cast(columns[:, :_DIGITS], tf.int64), [[0, 0], [0, _DIGITS]])[:, :_DIGITS]
    numbers = tf.reduce_sum(low * powers, axis=1)
    too_much = tf.reduce_any(columns[:, _DIGITS:] > 0, axis=1)
    return _characters(tf.where(too_much, tf.constant(_LAST + 1, tf.int64), numbers))


def _characters(numbers: tf.Tensor) -> tf.Tensor:
    """Returns string[n]: the character that HTML decodes each number of int64[n] to."""
    is_low = numbers < _FIRST_PLAIN
    low = tf.gather(tf.constant(_LOW), tf.where(is_low, numbers, tf.zeros_like(numbers)))
    surrogate = (numbers >= 0xD800) & (numbers <= 0xDFFF)
    wrong = surrogate | (numbers > _LAST)
    safe = tf.where(wrong | is_low, tf.fill(tf.shape(numbers), tf.constant(32, tf.int64)), numbers)
    plain = tf.strings.unicode_encode(tf.cast(safe, tf.int32)[:, None], "UTF-8")
    # Unicode's noncharacters, which HTML drops.
    none = ((numbers >= 0xFDD0) & (numbers <= 0xFDEF)) | (numbers & 0xFFFE == 0xFFFE)
    plain = tf.where(none, "", plain)
    return tf.where(is_low, low, tf.where(wrong, _REPLACEMENT, plain))
