"""Reads GGUF files: named values, and named tensors, which may be quantized."""

import pathlib
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from tff_nlp.errors import UserError, verbatim

# What the reader raises where a file is damaged.
_DAMAGED = (IndexError, KeyError, OSError, OverflowError, RecursionError, TypeError, ValueError)

Value = TypeVar("Value")


class GgufFile:
    """The values and tensors of a GGUF file.

    Args:
      path: The file.
      flag: Start of the error messages.

    Raises:
      UserError: If the file is missing or damaged, or if the package gguf is not installed.
    """

    def __init__(self, path: pathlib.Path, flag: str) -> None:
        self._place = f"{flag}: {verbatim(path.name)}"
        if not path.is_file():
            raise UserError(f"{self._place} is missing in {verbatim(path.parent)}")
        try:
            self._reader = _open(path)
        except ImportError as error:
            raise UserError(
                f"{flag}: the reader of GGUF files is not installed; EXTRAS=smollm2 scripts/setup "
                "adds it"
            ) from error
        except _DAMAGED as error:
            reason = verbatim(" ".join(str(error).split()))
            raise UserError(f"{self._place} is no GGUF file, or it is damaged: {reason}") from error
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}

    @property
    def tensor_names(self) -> Sequence[str]:
        """Names of the tensors, in the order of the file."""
        return tuple(self._tensors)

    def value(self, key: str, kind: type[Value]) -> Value:
        """Returns a value.

        Args:
          key: Name of the value.
          kind: Type of the value: int, float, str or list.

        Raises:
          UserError: If the value is missing or has another type.
        """
        field = self._reader.get_field(key)
        if field is None:
            raise UserError(f"{self._place} has no value {key}")
        try:
            value = field.contents()
        except UnicodeDecodeError as error:
            raise UserError(f"{self._place}: the value {key} is not UTF-8") from error
        if type(value) is not kind:
            raise UserError(f"{self._place}: the value {key} is not of the type {kind.__name__}")
        return value

    def read(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Returns a tensor as float32.

        Args:
          name: Name of the tensor.
          shape: Expected shape. The file lists the lengths of the axes in reverse order.

        Raises:
          UserError: If the tensor is missing, has another shape, is quantized in a way that cannot
            be read, or holds values that are not finite.
        """
        import gguf

        if name not in self._tensors:
            raise UserError(f"{self._place}: tensor {name} is missing")
        tensor = self._tensors[name]
        found = tuple(int(length) for length in reversed(tensor.shape))
        if found != shape:
            raise UserError(
                f"{self._place}: tensor {name} has shape {list(found)}, its sizes say {list(shape)}"
            )
        try:
            value = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        except NotImplementedError as error:
            kind = tensor.tensor_type.name
            raise UserError(f"{self._place}: tensor {name} is {kind}, which is not read") from error
        if not np.isfinite(value).all():
            raise UserError(f"{self._place}: tensor {name} has values that are not finite")
        # Tensors that are not quantized are still views of the file.
        return np.array(value, np.float32)


def _open(path: pathlib.Path) -> Any:
    """Returns the package's reader of a file, with a check that the file does not end early.

    Raises:
      ValueError: If the file ends early, or is written for processors of the other byte order.
    """
    import gguf

    class Reader(gguf.GGUFReader):
        def _get(self, offset: int, dtype: Any, count: int = 1, *args: Any, **more: Any) -> Any:
            # The base class returns fewer numbers where the file ends.
            found = super()._get(offset, dtype, count, *args, **more)
            if len(found) != count:
                raise ValueError("it ends early")
            return found

    reader = Reader(path)
    if reader.byte_order != "I":
        raise ValueError("it is written for processors of the other byte order")
    return reader
