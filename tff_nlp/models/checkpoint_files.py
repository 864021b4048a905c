"""Reads the files of a Hugging Face checkpoint: a JSON configuration and named tensors."""

import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from tff_nlp.errors import UserError, verbatim

CONFIG, WEIGHTS = "config.json", "model.safetensors"


class Tensors:
    """The tensors of a safetensors file.

    Args:
      path: The file.
      flag: Start of the error messages.
      rename: Function from a stored tensor's name to the name that `read` takes.

    Raises:
      UserError: If the file is missing or damaged.
    """

    def __init__(self, path: pathlib.Path, flag: str, rename: Callable[[str], str]) -> None:
        import safetensors

        self._place = f"{flag}: {path.name}"
        if not path.is_file():
            raise UserError(f"{self._place} is missing in {verbatim(path.parent)}")
        try:
            self._file = safetensors.safe_open(path, framework="numpy")
        except (safetensors.SafetensorError, OSError) as error:
            raise UserError(f"{self._place} is damaged: {verbatim(error)}") from error
        self._names: dict[str, str] = {}
        for stored in self._file.keys():  # noqa: SIM118 (no mapping)
            self._names.setdefault(rename(stored), stored)

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def read(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Returns a tensor as float32.

        Args:
          name: Name of the tensor.
          shape: Expected shape.

        Raises:
          UserError: If the tensor is missing, has another shape or type, or holds values that are
            not finite.
        """
        if name not in self._names:
            raise UserError(f"{self._place}: tensor {name} is missing")
        piece = self._file.get_slice(self._names[name])
        kind, found = piece.get_dtype(), tuple(piece.get_shape())
        if found != shape:
            raise UserError(
                f"{self._place}: tensor {name} has shape {list(found)}, {CONFIG} says {list(shape)}"
            )
        if kind not in ("F16", "F32", "F64"):
            raise UserError(f"{self._place}: tensor {name} is {kind}; save it as float32")
        value: np.ndarray = self._file.get_tensor(self._names[name]).astype(np.float32)
        if not np.isfinite(value).all():
            raise UserError(f"{self._place}: tensor {name} has values that are not finite")
        return value


def read_json(path: pathlib.Path, flag: str) -> dict[str, Any]:
    """Returns the JSON object in a file.

    Raises:
      UserError: If the file is missing or damaged.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{flag}: {path.name} is missing in {verbatim(path.parent)}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{flag}: {verbatim(path)}: {verbatim(error)}") from error
    if not isinstance(value, dict):
        raise UserError(f"{flag}: {verbatim(path)}: not a JSON object")
    return value


def fraction(config: dict[str, Any], key: str, default: float, flag: str) -> float:
    """Returns a value of the configuration that must be at least 0 and below 1.

    Args:
      config: The configuration.
      key: Key of the value.
      default: Value if the key is missing.
      flag: Start of the error messages.

    Raises:
      UserError: If the value is not such a number.
    """
    value = config.get(key, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
        raise UserError(f"{flag}: {CONFIG} has {key} {value!r}; it must be at least 0 and below 1")
    return float(value)


def positive(config: dict[str, Any], key: str, flag: str) -> int:
    """Returns a value of the configuration that must be a positive integer.

    Args:
      config: The configuration.
      key: Key of the value.
      flag: Start of the error messages.

    Raises:
      UserError: If the value is missing or is not a positive integer.
    """
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{flag}: {CONFIG} has {key} {value!r}; it must be a positive integer")
    return value
