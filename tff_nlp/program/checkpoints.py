"""Checkpoints, which are never left half written and belong to one run.

Each checkpoint holds a digest of its numbers, its round and its run. Reading one runs no code,
because it holds only plain numbers. They need no more memory than the size of the file.
"""

import hashlib
import pathlib
import re
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from tff_nlp import durable_files, errors

_NAME = re.compile(r"round_(\d{6})\.npz")
_KEPT = 2
_DIGEST = "digest"


def save(
    folder: pathlib.Path, round_number: int, leaves: Sequence[np.ndarray], run: str = ""
) -> None:
    """Saves a state and keeps only the two newest checkpoints.

    The arguments and errors are those of `write`.
    """
    write(folder, round_number, leaves, run)
    for number in rounds(folder)[:-_KEPT]:
        remove(folder, number)


def write(
    folder: pathlib.Path, round_number: int, leaves: Sequence[np.ndarray], run: str = ""
) -> None:
    """Writes a state and keeps all other checkpoints.

    Args:
      folder: Folder of the checkpoints.
      round_number: Number of completed rounds.
      leaves: The state's arrays, in a fixed order.
      run: Identity of the run, see `RunDirectory.identity`.

    Raises:
      WriteError: If the checkpoint cannot be written.
    """
    path = folder / f"round_{round_number:06d}.npz"
    members = {f"leaf_{i:04d}": leaf for i, leaf in enumerate(leaves)}
    members[_DIGEST] = _digest(leaves, round_number, run)
    # If the disk is full, NumPy's own writer leaves an open archive that prints an error later.
    with durable_files.replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, leaf in members.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(leaf), allow_pickle=False)


def remove(folder: pathlib.Path, round_number: int) -> None:
    """Removes a checkpoint, if there is one.

    Args:
      folder: Folder of the checkpoints.
      round_number: Number of completed rounds of the checkpoint.

    Raises:
      WriteError: If the checkpoint cannot be removed.
    """
    path = folder / f"round_{round_number:06d}.npz"
    with durable_files.writing(path):
        path.unlink(missing_ok=True)


def latest(folder: pathlib.Path) -> int | None:
    """Returns the number of completed rounds of the newest checkpoint, or None without any."""
    found = rounds(folder)
    return found[-1] if found else None


def load(
    folder: pathlib.Path, round_number: int, like: Sequence[Any], run: str = ""
) -> list[np.ndarray]:
    """Loads a checkpoint.

    Args:
      folder: Folder of the checkpoints.
      round_number: Number of completed rounds of the checkpoint.
      like: Arrays or `tf.TensorSpec`s with the shapes and types that the checkpoint must have. The
        shape of a spec may have unknown sizes.
      run: Identity of the run, as for `write`.

    Returns:
      The state's arrays, in the order in which they were saved.

    Raises:
      UserError: If the file is damaged or belongs to another model or run.
    """
    path = folder / f"round_{round_number:06d}.npz"
    try:
        _check_size(path)
        with np.load(path, allow_pickle=False) as file:
            members = {name: file[name] for name in sorted(file.files)}
        stated = members.pop(_DIGEST)
    except (OSError, ValueError, ArithmeticError, EOFError, KeyError, MemoryError) as error:
        raise _damaged(path, errors.message(error)) from error
    except zipfile.BadZipFile as error:
        raise _damaged(path, errors.message(error)) from error
    leaves = list(members.values())
    if len(leaves) != len(like) or not all(map(_fits, leaves, like)):
        raise errors.UserError(
            f"`output_dir`: the checkpoint {errors.verbatim(path)} belongs to another model; use "
            "another folder"
        )
    if stated.tobytes() != _digest(leaves, round_number, run).tobytes():
        raise _damaged(path, "it is not what this run saved")
    return leaves


def _damaged(path: pathlib.Path, why: str) -> errors.UserError:
    return errors.UserError(
        f"`output_dir`: the checkpoint {errors.verbatim(path)} is damaged ({why}); delete it to "
        "continue from the checkpoint before it"
    )


def _check_size(path: pathlib.Path) -> None:
    """Raises ValueError or BadZipFile if the arrays are larger than the file."""
    with zipfile.ZipFile(path) as file:
        if sum(member.file_size for member in file.infolist()) > path.stat().st_size:
            raise ValueError("its arrays are larger than the file")


def _digest(leaves: Sequence[np.ndarray], round_number: int, run: str) -> np.ndarray:
    digest = hashlib.sha256(f"{run};{round_number};".encode())
    for leaf in map(np.asarray, leaves):
        digest.update(f"{leaf.dtype.str}{leaf.shape};".encode())
        digest.update(leaf.tobytes())
    return np.frombuffer(digest.digest(), np.uint8)


def _fits(leaf: np.ndarray, like: Any) -> bool:
    wanted = np.dtype(getattr(like.dtype, "as_numpy_dtype", like.dtype))
    # NumPy's string types have a fixed length; strings of open length have the type object.
    same = leaf.dtype == wanted or (leaf.dtype.kind == "S" and wanted.kind in "OS")
    sizes = tuple(like.shape)
    return (
        same
        and len(sizes) == leaf.ndim
        and all(s in (None, n) for s, n in zip(sizes, leaf.shape, strict=True))
    )


def rounds(folder: pathlib.Path) -> list[int]:
    """Returns the numbers of completed rounds of all checkpoints, in order."""
    matches = (_NAME.fullmatch(path.name) for path in folder.glob("round_*.npz"))
    return sorted(int(match[1]) for match in matches if match)
