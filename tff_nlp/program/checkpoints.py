"""Checkpoints that a kill cannot leave half written."""

import pathlib
import re
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from tff_nlp import durable_files, errors

_NAME = re.compile(r"round_(\d{6})\.npz")
_KEPT = 2


def save(folder: pathlib.Path, round_number: int, leaves: Sequence[np.ndarray]) -> None:
    """Saves a state; the two newest checkpoints are kept.

    Args:
      folder: Where checkpoints live.
      round_number: Rounds completed.
      leaves: The state's arrays, in a fixed order.

    Raises:
      WriteError: If it cannot be written.
    """
    path = folder / f"round_{round_number:06d}.npz"
    with durable_files.replacing(path) as file:
        np.savez(file, **{f"leaf_{i:04d}": leaf for i, leaf in enumerate(leaves)})
    with durable_files.writing(path):
        for number in _rounds(folder)[:-_KEPT]:
            (folder / f"round_{number:06d}.npz").unlink()


def latest(folder: pathlib.Path) -> int | None:
    """Returns the number of completed rounds of the newest checkpoint, None without any."""
    rounds = _rounds(folder)
    return rounds[-1] if rounds else None


def load(folder: pathlib.Path, round_number: int, like: Sequence[Any]) -> list[np.ndarray]:
    """Loads a checkpoint.

    Args:
      folder: Where checkpoints live.
      round_number: Which one.
      like: Arrays, or `tf.TensorSpec`s whose shapes may have unknown sizes, of the shapes and types
        that the checkpoint must have.

    Raises:
      UserError: If the file is damaged or belongs to another model.
    """
    path = folder / f"round_{round_number:06d}.npz"
    try:
        if not zipfile.is_zipfile(path):
            raise zipfile.BadZipFile("its end is missing")
        with np.load(path, allow_pickle=False) as file:
            # The zip format keeps a checksum per array, which reading compares.
            leaves = [file[name] for name in sorted(file.files)]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise errors.UserError(
            f"--output_dir: the checkpoint {path} is damaged ({error}); delete it to go on from "
            "the one before"
        ) from error
    if len(leaves) != len(like) or not all(map(_fits, leaves, like)):
        raise errors.UserError(
            f"--output_dir: the checkpoint {path} is not of this model; use another folder"
        )
    return leaves


def _fits(leaf: np.ndarray, like: Any) -> bool:
    wanted = np.dtype(getattr(like.dtype, "as_numpy_dtype", like.dtype))
    # Strings have a length in NumPy, and are objects where their length is open.
    same = leaf.dtype == wanted or (leaf.dtype.kind == "S" and wanted.kind in "OS")
    sizes = tuple(like.shape)
    return (
        same
        and len(sizes) == leaf.ndim
        and all(s in (None, n) for s, n in zip(sizes, leaf.shape, strict=True))
    )


def _rounds(folder: pathlib.Path) -> list[int]:
    matches = (_NAME.fullmatch(path.name) for path in folder.glob("round_*.npz"))
    return sorted(int(match[1]) for match in matches if match)
