"""NumPy arrays that callers get, and the tensors that they were before.

TFF's contexts return arrays. A server's state is returned by one round and given to the next one,
mostly without a look at it: the array remembers its tensor, so that nothing is copied to another
device and back. The array cannot be written to, so both stay the same.
"""

import weakref
from typing import Any

import numpy as np
import tensorflow as tf

# By the id of an array that lives. Its entry goes before the id can be used again.
_tensors: dict[int, tf.Tensor] = {}


def array(tensor: tf.Tensor) -> Any:
    """Returns a tensor as what TFF's contexts return.

    Args:
      tensor: An eager tensor.

    Returns:
      A scalar of NumPy, bytes, an array of bytes, or an array that cannot be written to. Its
      memory is that of the tensor where the tensor lies in this machine's memory.
    """
    if tensor.shape.rank == 0 or tensor.dtype == tf.string:
        return tensor.numpy()
    # A view of its own: another one of the same memory could have been made writable.
    values = np.asarray(tensor).view()
    values.flags.writeable = False
    _tensors[id(values)] = tensor
    weakref.finalize(values, _tensors.pop, id(values), None).atexit = False
    return values


def tensor(value: Any, dtype: tf.DType) -> tf.Tensor:
    """Returns a value as a tensor, one that `array` gave as the tensor that it was."""
    if isinstance(value, np.ndarray) and not value.flags.writeable:
        known = _tensors.get(id(value))
        if known is not None and known.dtype == dtype and known.shape == value.shape:
            return known
    return tf.convert_to_tensor(value, dtype)
