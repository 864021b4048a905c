"""Values to flat lists of tensors and back, guided by their TFF types."""

import collections
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff


def flatten_types(type_spec: tff.Type | None) -> Iterator[tff.Type]:
    """Yields the tensor and sequence types of a type in order; placements are looked through."""
    if type_spec is None:
        return
    if isinstance(type_spec, tff.FederatedType):
        yield from flatten_types(type_spec.member)
    elif isinstance(type_spec, tff.StructType):
        for _, element in tff.structure.iter_elements(type_spec):
            yield from flatten_types(element)
    else:
        yield type_spec


def flatten(value: Any, type_spec: tff.Type | None) -> list[tf.Tensor]:
    """Returns the tensors of a value in the order of `flatten_types`.

    Args:
      value: Nested Python containers, `tff.structure.Struct`s, tensors, arrays, and for sequences
        a `tf.data.Dataset` or a list of elements. Mappings are read by name.
      type_spec: The type; a placement of SERVER is looked through.

    Returns:
      Eager tensors; a sequence is a variant tensor.

    Raises:
      TypeError: If the value does not have the type.
    """
    if type_spec is None:
        return []
    if isinstance(type_spec, tff.FederatedType):
        return flatten(value, type_spec.member)
    if isinstance(type_spec, tff.StructType):
        result: list[tf.Tensor] = []
        for element, (_, element_type) in zip(
            _elements(value, type_spec), tff.structure.iter_elements(type_spec), strict=True
        ):
            result.extend(flatten(element, element_type))
        return result
    if isinstance(type_spec, tff.SequenceType):
        return [_sequence(value, type_spec)]
    return [_tensor(value, type_spec)]


def pack(tensors: Iterator[tf.Tensor], type_spec: tff.Type) -> Any:
    """Returns the value of a type from its tensors, in the Python containers of the type.

    Args:
      tensors: In the order of `flatten_types`.
      type_spec: The type; placements are looked through.

    Returns:
      Scalars are NumPy's, other tensors stay TensorFlow's, on their device; sequences are data
      sets.
    """
    return tff.types.type_to_py_container(_pack_struct(tensors, type_spec), type_spec)


def _pack_struct(tensors: Iterator[tf.Tensor], type_spec: tff.Type) -> Any:
    if isinstance(type_spec, tff.FederatedType):
        return _pack_struct(tensors, type_spec.member)
    if isinstance(type_spec, tff.StructType):
        return tff.structure.Struct(
            [
                (name, _pack_struct(tensors, element))
                for name, element in tff.structure.iter_elements(type_spec)
            ]
        )
    tensor = next(tensors)
    if isinstance(type_spec, tff.SequenceType):
        return tf.data.experimental.from_variant(tensor, element_spec(type_spec.element))
    # Scalars as NumPy's, as in TFF; larger values stay where they are.
    return tensor.numpy() if tensor.shape.rank == 0 else tensor


def _elements(value: Any, type_spec: tff.StructType) -> list[Any]:
    names = tff.structure.name_list_with_nones(type_spec)
    if isinstance(value, tff.structure.Struct):
        given = [(n, v) for n, v in tff.structure.iter_elements(value)]
        _check_names([n for n, _ in given], names, type_spec)
        return [v for _, v in given]
    if isinstance(value, Mapping):
        if set(value) != set(names):
            raise TypeError(f"expected a value of type {type_spec}, found keys {list(value)}")
        return [value[name] for name in names]
    if isinstance(value, (list, tuple)):
        if len(value) != len(names):
            raise TypeError(f"expected a value of type {type_spec}, found {len(value)} elements")
        return list(value)
    if all(name is not None and hasattr(value, name) for name in names):
        return [getattr(value, name) for name in names]
    raise TypeError(f"expected a value of type {type_spec}, found {type(value).__name__}")


def _check_names(given: list[str | None], names: list[str | None], type_spec: tff.Type) -> None:
    if len(given) != len(names) or any(
        g is not None and g != n for g, n in zip(given, names, strict=True)
    ):
        raise TypeError(f"expected a value of type {type_spec}, found elements {given}")


def _tensor(value: Any, type_spec: tff.TensorType) -> tf.Tensor:
    dtype = tf.dtypes.as_dtype(type_spec.dtype)
    # As TFF does: Python's numbers take the type asked for, typed values must have it.
    given = getattr(value, "dtype", None)
    if given is not None and tf.dtypes.as_dtype(given) != dtype and dtype != tf.string:
        name = tf.dtypes.as_dtype(given).name
        raise TypeError(f"expected a value of type {type_spec}, found a value of type {name}")
    if isinstance(value, int) and dtype.is_integer and not dtype.min <= value <= dtype.max:
        raise TypeError(f"expected a value of type {type_spec}, found {value}")
    try:
        tensor = tf.convert_to_tensor(value, dtype)
    except (TypeError, ValueError) as error:
        raise TypeError(f"expected a value of type {type_spec}, found {value!r}") from error
    shape = tf.TensorShape(type_spec.shape)
    if not shape.is_compatible_with(tensor.shape):
        raise TypeError(f"expected a value of type {type_spec}, found shape {tensor.shape}")
    return tensor


def _sequence(value: Any, type_spec: tff.SequenceType) -> tf.Tensor:
    if isinstance(value, (list, tuple)):
        elements = list(value)
        value = tf.data.Dataset.from_generator(
            lambda: elements, output_signature=element_spec(type_spec.element)
        )
    if not isinstance(value, tf.data.Dataset):
        raise TypeError(f"expected a value of type {type_spec}, found {type(value).__name__}")
    element_type = tff.types.tensorflow_to_type(value.element_spec)
    if not type_spec.element.is_assignable_from(element_type):
        raise TypeError(f"expected a data set of {type_spec.element}, found {element_type}")
    return tf.data.experimental.to_variant(without_rewriting(value))


def without_rewriting(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Tells tf.data not to optimize a data set, which takes longer than reading a small client.

    What the data set's maker has set stays.
    """
    given = dataset.options()
    options = tf.data.Options()
    if given.autotune.enabled is None:
        options.autotune.enabled = False
    if given.experimental_optimization.apply_default_optimizations is None:
        options.experimental_optimization.apply_default_optimizations = False
    return dataset.with_options(options)


def element_spec(type_spec: tff.Type) -> Any:
    """Returns the spec of a sequence's elements from their type."""
    if not isinstance(type_spec, tff.StructType):
        return tf.TensorSpec(type_spec.shape, tf.dtypes.as_dtype(type_spec.dtype))
    elements = [(n, element_spec(t)) for n, t in tff.structure.iter_elements(type_spec)]
    if any(name is None for name, _ in elements):
        return tuple(spec for _, spec in elements)
    return collections.OrderedDict(elements)
