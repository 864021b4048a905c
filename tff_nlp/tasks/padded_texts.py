"""Inputs of text models: rows of token ids, padded on the right."""

import collections
from collections.abc import Mapping

import tensorflow as tf

from tff_nlp.tasks import task


def masked(x: tf.Tensor, pad_id: int) -> Mapping[str, tf.Tensor]:
    """Returns the inputs "ids" (int32[batch, length]) and "mask" (false at padding).

    Args:
      x: Padded token ids, int32[batch, length].
      pad_id: Id of padding.
    """
    return collections.OrderedDict(ids=x, mask=tf.not_equal(x, pad_id))


def one_text(inputs: Mapping[str, tf.Tensor], index: tf.Tensor) -> Mapping[str, tf.Tensor]:
    """Returns the text at an index as a batch of one text, without its padding."""
    row = task.rows_at(inputs, index)
    length = tf.reduce_sum(tf.cast(row["mask"], tf.int32))
    return collections.OrderedDict((name, part[:, :length]) for name, part in row.items())
