"""What a client brings to a round: its batches, and what else an algorithm asks for.

A client that brings batches alone is a data set of them, as everywhere in TFF. One that brings more
is an `OrderedDict` of data sets, since TFF's templates know nothing else at a client: the batches
under "batches", and each other value as a data set with one element, or with none.
"""

import collections
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

BATCHES = "batches"
# uint32[8], key of the noise that the client adds in this round.
NOISE_KEY = "noise_key"
# int32, which canary this is; real clients have none.
CANARY = "canary"
# What the client keeps from round to round.
STATE = "state"

KEY_SPEC = tf.TensorSpec([8], tf.uint32)
CANARY_SPEC = tf.TensorSpec([], tf.int32)


def client_type(batch_spec: Any, extras: Mapping[str, Any]) -> tff.Type:
    """Returns the type of what a client brings.

    Args:
      batch_spec: The specs of a batch.
      extras: The specs of all other values, by name.
    """
    batches = tff.SequenceType(tff.types.tensorflow_to_type(batch_spec))
    if not extras:
        return batches
    others = [
        (name, tff.SequenceType(tff.types.tensorflow_to_type(spec)))
        for name, spec in extras.items()
    ]
    return tff.StructWithPythonType([(BATCHES, batches), *others], collections.OrderedDict)


def batches_of(client: Any) -> tf.data.Dataset:
    """Returns a client's batches."""
    return client if isinstance(client, tf.data.Dataset) else client[BATCHES]


def value_of(client: Any, name: str, absent: Any) -> Any:
    """Returns a value beside the batches, or `absent`, of the same structure and types.

    Args:
      client: What the client brings.
      name: The value's name.
      absent: What stands for a value that this client does not bring.
    """
    if isinstance(client, tf.data.Dataset) or name not in client:
        return absent
    return client[name].reduce(absent, lambda _, value: value)


def with_values(batches: tf.data.Dataset, **values: Any) -> Any:
    """Returns what a client brings, from its batches and the values beside them.

    Args:
      batches: The batches.
      **values: The values; None for one that the algorithm does not ask for, and a structure of
        `tf.TensorSpec` for one that this client does not have.
    """
    beside = [(name, _one_value(value)) for name, value in values.items() if value is not None]
    if not beside:
        return batches
    return collections.OrderedDict([(BATCHES, batches), *beside])


def no_elements(spec: Any) -> tf.data.Dataset:
    """Returns a data set without elements, of this spec."""
    empty = tf.data.Dataset.from_tensors(blank(spec)).take(0)
    return tf.data.experimental.from_variant(tf.data.experimental.to_variant(empty), spec)


def blank(spec: Any) -> Any:
    """Returns zeros, or empty strings, of this spec; a size that it leaves open is 0."""
    return tf.nest.map_structure(
        lambda part: tf.zeros([size or 0 for size in part.shape], part.dtype), spec
    )


def _one_value(value: Any) -> tf.data.Dataset:
    if isinstance(tf.nest.flatten(value)[0], tf.TensorSpec):
        return no_elements(value)
    return tf.data.Dataset.from_tensors(value)
