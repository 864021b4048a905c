"""Tensors as a stream of bytes, in pieces of limited size.

The receiver knows the specs of the tensors from the computation that it has built itself. So the
bytes say neither types nor shapes, and a stream of another size is refused before it is complete.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from tff_nlp import errors

PIECE_BYTES = 1 << 20
CHANGED = "the bytes that arrived are not those that were sent"


class DamagedError(errors.RunError):
    """What arrived is not what was sent: cut, changed, or too long."""


def sizes(specs: Sequence[tf.TensorSpec]) -> list[int]:
    """Returns the size of each tensor in bytes.

    Raises:
      UserError: If a type does not say the size: strings, and shapes that vary.
    """
    found = []
    for spec in specs:
        if spec.dtype == tf.string or not spec.shape.is_fully_defined():
            raise errors.UserError(
                f"a tensor of {spec.dtype.name} and shape {spec.shape} has no fixed size, so it "
                "cannot be sent between machines"
            )
        found.append(spec.shape.num_elements() * spec.dtype.size)
    return found


def encode(tensors: Sequence[np.ndarray | tf.Tensor]) -> Iterator[bytes]:
    """Yields the bytes of tensors, in pieces of at most `PIECE_BYTES`."""
    for tensor in tensors:
        array = np.asarray(tensor)
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        data = np.ascontiguousarray(little).reshape(-1).view(np.uint8)
        for start in range(0, len(data), PIECE_BYTES):
            yield data[start : start + PIECE_BYTES].tobytes()


def digest(tensors: Sequence[np.ndarray | tf.Tensor]) -> bytes:
    """Returns the SHA-256 of the bytes of tensors."""
    found = hashlib.sha256()
    for piece in encode(tensors):
        found.update(piece)
    return found.digest()


def collect(content: Iterable[bytes], expected: int, stated: bytes | None = None) -> bytearray:
    """Returns the content of a stream.

    Args:
      content: Its pieces. They are read only as far as the expected size.
      expected: Number of bytes.
      stated: SHA-256 of the content; None if it is compared elsewhere.

    Raises:
      DamagedError: If the content has another size, or another digest.
    """
    found = bytearray()
    for piece in content:
        if len(found) + len(piece) > expected:
            raise DamagedError(f"more than the {expected:,} bytes that were expected arrived")
        found += piece
    if len(found) < expected:
        raise DamagedError(f"{len(found):,} of {expected:,} bytes arrived")
    if stated is not None and hashlib.sha256(found).digest() != stated:
        raise DamagedError(CHANGED)
    return found


def decode(content: bytes | bytearray, specs: Sequence[tf.TensorSpec]) -> list[tf.Tensor]:
    """Reverses `encode`."""
    tensors, start = [], 0
    for spec, size in zip(specs, sizes(specs), strict=True):
        kind = np.dtype(spec.dtype.as_numpy_dtype)
        flat = np.frombuffer(memoryview(content)[start : start + size], kind.newbyteorder("<"))
        tensors.append(tf.constant(flat.astype(kind).reshape(spec.shape.as_list()), spec.dtype))
        start += size
    return tensors
