"""NumPy arrays that a context returns, and the tensors that they come from.

TFF's contexts return arrays. The caller usually passes the server state from one round to the next
without reading it. So this module remembers the tensor of each returned array, and nothing is
copied to another device and back. The array is read-only, so it stays equal to its tensor.
"""

import weakref
from typing import Any

import numpy as np
import tensorflow as tf

# The tensor of each array, by the array's id. An entry is removed when its array is deleted.
_tensors: dict[int, tf.Tensor] = {}


def array(tensor: tf.Tensor) -> Any:
    """Converts a tensor to the kind of value that TFF's contexts return.

    Args:
      tensor: An eager tensor.

    Returns:
      A NumPy scalar, bytes, an array of bytes, or a read-only array. The array shares the memory of
      the tensor if the tensor is in the main memory of this machine.
    """
    if tensor.shape.rank == 0 or tensor.dtype == tf.string:
        return tensor.numpy()
    # A new view: somebody could have made another view of the same memory writable.
    values = np.asarray(tensor).view()
    values.flags.writeable = False
    _tensors[id(values)] = tensor
    weakref.finalize(values, _tensors.pop, id(values), None).atexit = False
    return values


def tensor(value: Any, dtype: tf.DType) -> tf.Tensor:
    """Converts a value to a tensor. A value that `array` returned becomes its original tensor."""
    if isinstance(value, np.ndarray) and not value.flags.writeable:
        known = _tensors.get(id(value))
        if known is not None and known.dtype == dtype and known.shape == value.shape:
            return known
    return tf.convert_to_tensor(value, dtype)
