"""The input of a client in a round: its batches, and other values that the algorithm needs.

The input is usually a data set of batches, as everywhere in TFF. If there are other values, it is
an `OrderedDict` of data sets, because TFF's templates accept only data sets from clients. The
batches are under "batches". Each other value is a data set with one element, or with none if the
client does not have the value.
"""

import collections
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

BATCHES = "batches"
# uint32[8], the key of the noise that the client adds in this round.
NOISE_KEY = "noise_key"
# int32, the number of the canary; real clients have none.
CANARY = "canary"
# int32, the rank of the low-rank factors that the client trains; absent for the largest rank.
RANK = "rank"
# int32, the number of the client's kind of model, where clients have different models.
KIND = "kind"
# bool, whether the client is an attacker, in a simulation of attacks.
ATTACKS = "attacks"
# float32[2], what a client of an asynchronous round does: 1 if it begins to train, else 0, and the
# factor of its update if it arrives, else 0.
JOB = "job"
# The state that the client keeps between rounds.
STATE = "state"

# The order of the values, in the type of the input and in the input itself.
_ORDER = (STATE, KIND, JOB, NOISE_KEY, CANARY, RANK, ATTACKS)

KEY_SPEC = tf.TensorSpec([8], tf.uint32)
CANARY_SPEC = tf.TensorSpec([], tf.int32)
RANK_SPEC = tf.TensorSpec([], tf.int32)
KIND_SPEC = tf.TensorSpec([], tf.int32)
JOB_SPEC = tf.TensorSpec([2], tf.float32)
ATTACKS_SPEC = tf.TensorSpec([], tf.bool)


def client_type(batch_spec: Any, extras: Mapping[str, Any]) -> tff.Type:
    """Returns the type of a client's input.

    Args:
      batch_spec: The specs of a batch.
      extras: The specs of the other values, by name.
    """
    batches = tff.SequenceType(tff.types.tensorflow_to_type(batch_spec))
    if not extras:
        return batches
    others = [
        (name, tff.SequenceType(tff.types.tensorflow_to_type(extras[name])))
        for name in _ORDER
        if name in extras
    ]
    return tff.StructWithPythonType([(BATCHES, batches), *others], collections.OrderedDict)


def batches_of(client: Any) -> tf.data.Dataset:
    """Returns a client's batches."""
    return client if isinstance(client, tf.data.Dataset) else client[BATCHES]


def value_of(client: Any, name: str, absent: Any) -> Any:
    """Returns one of the other values of a client's input.

    Args:
      client: The client's input.
      name: Name of the value.
      absent: Result for a client without this value. It has the structure and types of the value.
    """
    if isinstance(client, tf.data.Dataset) or name not in client:
        return absent
    return client[name].reduce(absent, lambda _, value: value)


def with_values(batches: tf.data.Dataset, **values: Any) -> Any:
    """Returns a client's input, made of its batches and the other values.

    Args:
      batches: The batches.
      **values: The other values. None for a value that the algorithm does not need; a structure of
        `tf.TensorSpec` for a value that this client does not have.
    """
    extras = [(name, _one_value(values[name])) for name in _ORDER if values.get(name) is not None]
    if not extras:
        return batches
    return collections.OrderedDict([(BATCHES, batches), *extras])


def no_elements(spec: Any) -> tf.data.Dataset:
    """Returns a data set with this element spec and without elements."""
    empty = tf.data.Dataset.from_tensors(blank(spec)).take(0)
    return tf.data.experimental.from_variant(tf.data.experimental.to_variant(empty), spec)


def blank(spec: Any) -> Any:
    """Returns zeros, or empty strings, with this spec. Unknown sizes become 0."""
    return tf.nest.map_structure(
        lambda part: tf.zeros([size or 0 for size in part.shape], part.dtype), spec
    )


def _one_value(value: Any) -> tf.data.Dataset:
    if isinstance(tf.nest.flatten(value)[0], tf.TensorSpec):
        return no_elements(value)
    return tf.data.Dataset.from_tensors(value)
