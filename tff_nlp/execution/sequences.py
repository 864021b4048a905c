"""Conversions of TFF's sequences: variant tensors, data sets and lists of elements."""

import collections
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff


def element_spec(type_spec: tff.Type) -> Any:
    """Returns the spec of a sequence's elements from their type."""
    if not isinstance(type_spec, tff.StructType):
        return tf.TensorSpec(type_spec.shape, tf.dtypes.as_dtype(type_spec.dtype))
    elements = [(n, element_spec(t)) for n, t in tff.structure.iter_elements(type_spec)]
    if any(name is None for name, _ in elements):
        return tuple(spec for _, spec in elements)
    return collections.OrderedDict(elements)


def in_data_set_order(tensors: Sequence[Any], type_spec: tff.Type) -> list[Any]:
    """Returns the tensors of an element in the order of a data set, which sorts names.

    Args:
      tensors: The tensors of the element, in the order of its type.
      type_spec: The type of the element.
    """
    remaining = iter(tensors)

    def arrange(part: tff.Type) -> Any:
        if not isinstance(part, tff.StructType):
            return next(remaining)
        arranged = [(n, arrange(t)) for n, t in tff.structure.iter_elements(part)]
        if any(name is None for name, _ in arranged):
            return tuple(value for _, value in arranged)
        return dict(arranged)

    return tf.nest.flatten(arrange(type_spec))


def from_dataset(dataset: tf.data.Dataset) -> tf.Tensor:
    """Returns a data set as a variant tensor."""
    return tf.data.experimental.to_variant(without_rewriting(dataset))


def from_tensors(tensors: Sequence[Any], type_spec: tff.SequenceType) -> tf.Tensor:
    """Returns a data set of the given elements, as a variant tensor.

    Args:
      tensors: The tensors or arrays of all elements, one element after another. Each element is in
        the order of `in_data_set_order`.
      type_spec: The type of the data set.
    """
    specs = tuple(tf.nest.flatten(element_spec(type_spec.element)))
    if tensors:
        variant = tf.raw_ops.ListDataset(
            tensors=[tf.convert_to_tensor(tensor) for tensor in tensors],
            output_types=[spec.dtype for spec in specs],
            output_shapes=[spec.shape for spec in specs],
        )
    else:
        none = tf.data.Dataset.from_tensors(tuple(map(_any_value, specs))).take(0)
        variant = tf.data.experimental.to_variant(none)
    return _option_setter(specs)(variant)


def to_dataset(variant: tf.Tensor, type_spec: tff.SequenceType) -> tf.data.Dataset:
    """Reverses `from_dataset`."""
    return tf.data.experimental.from_variant(variant, element_spec(type_spec.element))


def iterate(variant: tf.Tensor, type_spec: tff.SequenceType) -> Iterator[list[tf.Tensor]]:
    """Yields the tensors of each element, in the order of a data set.

    For few elements it takes half the time of TensorFlow's Python iterator.
    """
    specs = tf.nest.flatten(element_spec(type_spec.element))
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


def without_rewriting(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Turns off tf.data's optimization of a data set, which takes longer than reading a small one.

    Options that the data set already has stay as they are.
    """
    given = dataset.options()
    return dataset.with_options(
        _plain_options(
            given.autotune.enabled, given.experimental_optimization.apply_default_optimizations
        )
    )


def _plain_options(autotune: bool | None, optimizations: bool | None) -> tf.data.Options:
    """Returns options that turn off every setting that is None."""
    options = tf.data.Options()
    options.autotune.enabled = bool(autotune)
    options.experimental_optimization.apply_default_optimizations = bool(optimizations)
    return options


def _any_value(spec: tf.TensorSpec) -> tf.Tensor:
    shape = [] if spec.shape.rank is None else [length or 0 for length in spec.shape]
    return tf.fill(shape, "") if spec.dtype == tf.string else tf.zeros(shape, spec.dtype)


@functools.lru_cache
def _option_setter(specs: tuple[tf.TensorSpec, ...]) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a function that turns off the optimization of a data set. It is traced only once."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.variant)], autograph=False)
    def set_options(variant: tf.Tensor) -> tf.Tensor:
        dataset = tf.data.experimental.from_variant(variant, specs)
        # A data set from a list has no options to keep.
        return tf.data.experimental.to_variant(dataset.with_options(_plain_options(None, None)))

    return set_options
