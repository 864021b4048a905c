"""Rounds and values in a form that other processes can read.

TensorFlow's graphs can be pickled, and TFF's types are sent as protocol buffers. The program sends
the compiled form and not the computation: for a BERT it has 0.6 MB and takes 3 ms, while each
process would need about a second to compile it again. Data sets cannot be pickled, so their
elements are sent as NumPy arrays.
"""

import dataclasses
import io
import pickle
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp import errors
from tff_nlp.execution import forms, secure_sums, sequences


class TooLargeError(errors.RunError):
    """A data set is larger than the limit for sending."""


@dataclasses.dataclass(frozen=True)
class Elements:
    """A data set.

    Attributes:
      tensors: The tensors of the elements, one element after another.
    """

    tensors: list[np.ndarray]


class _Pickler(pickle.Pickler):
    """Pickles TFF's types, without their Python containers. Plain pickle cannot load them."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, tff.Type):
            return tff.types.deserialize_type, (tff.types.serialize_type(value),)
        return NotImplemented


def pack_form(form: forms.RoundForm, summands: Sequence[secure_sums.Summand]) -> bytes:
    """Returns a compiled round and its secure sums as bytes."""
    buffer = io.BytesIO()
    _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump((form, tuple(summands)))
    return buffer.getvalue()


def unpack_form(packed: bytes) -> tuple[forms.RoundForm, tuple[secure_sums.Summand, ...]]:
    """Reverses `pack_form`. Use it only on bytes from a trusted process."""
    return pickle.loads(packed)


def to_arrays(
    tensors: Iterable[tf.Tensor], types: Iterable[tff.Type], *, max_bytes: int | None = None
) -> list[np.ndarray | Elements]:
    """Returns flat tensors as arrays, data sets as `Elements`.

    Args:
      tensors: Flat tensors, in the order of `structures.flatten_types`.
      types: Their tensor and sequence types.
      max_bytes: Maximum size of a data set in bytes. None for no limit.

    Raises:
      TooLargeError: If a data set is larger than `max_bytes`.
    """
    return [
        _elements(tensor, type_spec, max_bytes)
        if isinstance(type_spec, tff.SequenceType)
        else np.asarray(tensor)
        for tensor, type_spec in zip(tensors, types, strict=True)
    ]


def to_tensors(
    values: Iterable[np.ndarray | Elements], types: Iterable[tff.Type]
) -> list[tf.Tensor]:
    """Reverses `to_arrays`."""
    return [
        sequences.from_tensors(value.tensors, type_spec)
        if isinstance(value, Elements)
        else tf.convert_to_tensor(value)
        for value, type_spec in zip(values, types, strict=True)
    ]


def size(values: Iterable[np.ndarray | Elements]) -> int:
    """Returns the total size of arrays and data sets in bytes."""
    return sum(
        size(value.tensors) if isinstance(value, Elements) else _bytes(value) for value in values
    )


def _bytes(array: np.ndarray) -> int:
    return sum(map(len, array.ravel())) if array.dtype == object else array.nbytes


def _elements(variant: tf.Tensor, type_spec: tff.SequenceType, max_bytes: int | None) -> Elements:
    tensors: list[np.ndarray] = []
    held = 0
    for element in sequences.iterate(variant, type_spec):
        arrays = [np.asarray(tensor) for tensor in element]
        held += sum(map(_bytes, arrays))
        if max_bytes is not None and held > max_bytes:
            raise TooLargeError(f"its data set holds more than {max_bytes:,} bytes")
        tensors += arrays
    return Elements(tensors)
