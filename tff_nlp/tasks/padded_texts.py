"""Texts as rows of token ids that are padded on the right: what the tasks of texts read."""

import collections
from collections.abc import Mapping

import tensorflow as tf

from tff_nlp.tasks import task


def masked(x: tf.Tensor, pad_id: int) -> Mapping[str, tf.Tensor]:
    """Returns what a model of texts reads: "ids" and "mask", false where there is padding."""
    return collections.OrderedDict(ids=x, mask=tf.not_equal(x, pad_id))


def one_text(inputs: Mapping[str, tf.Tensor], index: tf.Tensor) -> Mapping[str, tf.Tensor]:
    """Returns one text as a batch of one, without its padding."""
    row = task.rows_at(inputs, index)
    length = tf.reduce_sum(tf.cast(row["mask"], tf.int32))
    return collections.OrderedDict((name, part[:, :length]) for name, part in row.items())
