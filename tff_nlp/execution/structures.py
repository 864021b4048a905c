"""Conversions between values and flat lists of tensors, guided by TFF types."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.execution import returned_arrays, sequences


def flatten_types(type_spec: tff.Type | None) -> Iterator[tff.Type]:
    """Yields the tensor and sequence types inside a type, in order. Placements are ignored."""
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
      value: A value of nested Python containers, `tff.structure.Struct`s, tensors and arrays. A
        sequence is a `tf.data.Dataset` or a list of elements. Mappings are read by name.
      type_spec: The type of the value. A placement at SERVER is ignored.

    Returns:
      Eager tensors. A sequence becomes a variant tensor.

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
            elements(value, type_spec), tff.structure.iter_elements(type_spec), strict=True
        ):
            result.extend(flatten(element, element_type))
        return result
    if isinstance(type_spec, tff.SequenceType):
        return [_sequence(value, type_spec)]
    return [_tensor(value, type_spec)]


def pack(tensors: Iterator[tf.Tensor], type_spec: tff.Type) -> Any:
    """Returns the value of a type from its tensors, in the Python containers of the type.

    Args:
      tensors: The tensors of the value, in the order of `flatten_types`.
      type_spec: The type of the value. A placement at SERVER is ignored.

    Returns:
      A value as TFF's own contexts return it, of read-only NumPy arrays, NumPy scalars and data
      sets.
    """
    return tff.types.type_to_py_container(_pack_struct(tensors, type_spec), type_spec)


def pack_clients(clients: Sequence[Sequence[tf.Tensor]], type_spec: tff.FederatedType) -> Any:
    """Returns a value that is placed at clients.

    Args:
      clients: The flattened value of each client.
      type_spec: The type of the value.

    Returns:
      A list with one value per client, or a single value if the type says that it is equal at all
      clients.

    Raises:
      ValueError: If the value is equal at all clients and there is no client.
    """
    if type_spec.all_equal:
        if not clients:
            raise ValueError(f"a value of type {type_spec} has no client to take it from")
        return pack(iter(clients[0]), type_spec.member)
    return [pack(iter(tensors), type_spec.member) for tensors in clients]


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
        return sequences.to_dataset(tensor, type_spec)
    return returned_arrays.array(tensor)


def client_list(value: Any) -> list[Any]:
    """Returns a value that is placed at clients as a list, one value per client.

    Raises:
      TypeError: If the value is not a list or tuple.
    """
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"expected a list with one value per client, found {type(value).__name__}")
    return list(value)


def cohort_size(values: Iterable[Sequence[Any]]) -> int:
    """Returns the number of clients of values that are placed at clients, or 0 without values.

    Raises:
      ValueError: If two values have different numbers of clients.
    """
    sizes = [len(value) for value in values]
    if len(set(sizes)) > 1:
        counts = ", ".join(map(str, sizes))
        raise ValueError(
            f"Conflicting cardinalities: the arguments have values of {counts} clients"
        )
    return sizes[0] if sizes else 0


def elements(value: Any, type_spec: tff.StructType) -> list[Any]:
    """Returns the elements of a structured value in the order of its type.

    Raises:
      TypeError: If the value does not have the type.
    """
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
    # As in TFF: Python numbers are converted to the type; values with a dtype must match it.
    given = getattr(value, "dtype", None)
    if given is not None and tf.dtypes.as_dtype(given) != dtype and dtype != tf.string:
        name = tf.dtypes.as_dtype(given).name
        raise TypeError(f"expected a value of type {type_spec}, found a value of type {name}")
    if isinstance(value, int) and dtype.is_integer and not dtype.min <= value <= dtype.max:
        raise TypeError(f"expected a value of type {type_spec}, found {value}")
    try:
        tensor = returned_arrays.tensor(value, dtype)
    except (TypeError, ValueError) as error:
        raise TypeError(f"expected a value of type {type_spec}, found {value!r}") from error
    shape = tf.TensorShape(type_spec.shape)
    if not shape.is_compatible_with(tensor.shape):
        raise TypeError(f"expected a value of type {type_spec}, found shape {tensor.shape}")
    return tensor


def _sequence(value: Any, type_spec: tff.SequenceType) -> tf.Tensor:
    if isinstance(value, (list, tuple)):
        tensors = [
            tensor
            for element in value
            for tensor in sequences.in_data_set_order(
                flatten(element, type_spec.element), type_spec.element
            )
        ]
        return sequences.from_tensors(tensors, type_spec)
    if not isinstance(value, tf.data.Dataset):
        raise TypeError(f"expected a value of type {type_spec}, found {type(value).__name__}")
    element_type = tff.types.tensorflow_to_type(value.element_spec)
    if not type_spec.element.is_assignable_from(element_type):
        raise TypeError(f"expected a data set of {type_spec.element}, found {element_type}")
    return sequences.from_dataset(value)
