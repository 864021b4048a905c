"""Rounds and values in a form that other processes can read.

TensorFlow's graphs pickle, TFF's types go as protocol buffers. A compiled form is sent and not
the computation: for a BERT it is 0.6 MB and 3 ms, where compiling it again takes about a second
in each process. Data sets do not pickle; what crosses is their elements as NumPy arrays.
"""

import dataclasses
import functools
import io
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp import errors
from tff_nlp.execution import forms, secure_sums, structures


class TooLargeError(errors.RunError):
    """A data set holds more than may be sent."""


@dataclasses.dataclass(frozen=True)
class Elements:
    """A data set.

    Attributes:
      tensors: The elements' tensors, one element after another.
    """

    tensors: list[np.ndarray]


class _Pickler(pickle.Pickler):
    """Pickles TFF's types, which by themselves do not unpickle, without their Python containers."""

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
    """Reverses `pack_form`; what it packed must come from a process that one trusts."""
    return pickle.loads(packed)


def to_arrays(
    tensors: Iterable[tf.Tensor], types: Iterable[tff.Type], *, max_bytes: int | None = None
) -> list[np.ndarray | Elements]:
    """Returns flat tensors as arrays, data sets as `Elements`.

    Args:
      tensors: In the order of `structures.flatten_types`.
      types: Their tensor and sequence types.
      max_bytes: How many bytes a data set may hold.

    Raises:
      TooLargeError: If a data set holds more.
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
        _dataset(value, type_spec) if isinstance(value, Elements) else tf.convert_to_tensor(value)
        for value, type_spec in zip(values, types, strict=True)
    ]


def size(values: Iterable[np.ndarray | Elements]) -> int:
    """Returns the bytes of arrays."""
    return sum(
        size(value.tensors) if isinstance(value, Elements) else _bytes(value) for value in values
    )


def _bytes(array: np.ndarray) -> int:
    return sum(map(len, array.ravel())) if array.dtype == object else array.nbytes


def _elements(variant: tf.Tensor, type_spec: tff.SequenceType, max_bytes: int | None) -> Elements:
    tensors: list[np.ndarray] = []
    held = 0
    for element in _iterate(variant, tf.nest.flatten(structures.element_spec(type_spec.element))):
        arrays = [np.asarray(tensor) for tensor in element]
        held += sum(map(_bytes, arrays))
        if max_bytes is not None and held > max_bytes:
            raise TooLargeError(f"its data set holds more than {max_bytes:,} bytes")
        tensors += arrays
    return Elements(tensors)


def _iterate(variant: tf.Tensor, specs: Sequence[tf.TensorSpec]) -> Iterator[list[tf.Tensor]]:
    """Yields the flattened elements; half as long as TensorFlow's Python iterator for few."""
    described = {
        "output_types": [spec.dtype for spec in specs],
        "output_shapes": [spec.shape for spec in specs],
    }
    with tf.device("/CPU:0"):
        iterator = tf.raw_ops.AnonymousIteratorV3(**described)
        tf.raw_ops.MakeIterator(dataset=variant, iterator=iterator)
    while True:
        try:
            with tf.device("/CPU:0"):
                element = tf.raw_ops.IteratorGetNext(iterator=iterator, **described)
        except tf.errors.OutOfRangeError:
            return
        yield element


def _dataset(elements: Elements, type_spec: tff.SequenceType) -> tf.Tensor:
    specs = tuple(tf.nest.flatten(structures.element_spec(type_spec.element)))
    if elements.tensors:
        variant = tf.raw_ops.ListDataset(
            tensors=[tf.constant(array) for array in elements.tensors],
            output_types=[spec.dtype for spec in specs],
            output_shapes=[spec.shape for spec in specs],
        )
    else:
        none = tf.data.Dataset.from_tensors(tuple(map(_any_value, specs))).take(0)
        variant = tf.data.experimental.to_variant(none)
    return _option_setter(specs)(variant)


def _any_value(spec: tf.TensorSpec) -> tf.Tensor:
    shape = [] if spec.shape.rank is None else [length or 0 for length in spec.shape]
    return tf.fill(shape, "") if spec.dtype == tf.string else tf.zeros(shape, spec.dtype)


@functools.lru_cache
def _option_setter(specs: tuple[tf.TensorSpec, ...]) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns what makes a data set read as it is; traced once, which is cheaper than each time."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.variant)], autograph=False)
    def set_options(variant: tf.Tensor) -> tf.Tensor:
        dataset = tf.data.experimental.from_variant(variant, specs)
        return tf.data.experimental.to_variant(structures.without_rewriting(dataset))

    return set_options
