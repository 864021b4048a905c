"""Checkpoints that a kill cannot leave half written, and that belong to one run.

Each holds a digest of its numbers, its round and its run. Reading one runs nothing: it is plain
numbers, which take no more memory than their file.
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
    """Saves a state; the two newest checkpoints are kept (arguments and errors as for `write`)."""
    write(folder, round_number, leaves, run)
    for number in rounds(folder)[:-_KEPT]:
        remove(folder, number)


def write(
    folder: pathlib.Path, round_number: int, leaves: Sequence[np.ndarray], run: str = ""
) -> None:
    """Writes a state beside those that are there.

    Args:
      folder: Where checkpoints live.
      round_number: Rounds completed.
      leaves: The state's arrays, in a fixed order.
      run: What tells this run from others, see `RunDirectory.identity`.

    Raises:
      WriteError: If it cannot be written.
    """
    path = folder / f"round_{round_number:06d}.npz"
    members = {f"leaf_{i:04d}": leaf for i, leaf in enumerate(leaves)}
    members[_DIGEST] = _digest(leaves, round_number, run)
    # NumPy's own writer leaves an archive behind that complains after a disk was full.
    with durable_files.replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, leaf in members.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(leaf), allow_pickle=False)


def remove(folder: pathlib.Path, round_number: int) -> None:
    """Removes a checkpoint.

    Raises:
      WriteError: If it cannot be removed.
    """
    path = folder / f"round_{round_number:06d}.npz"
    with durable_files.writing(path):
        path.unlink(missing_ok=True)


def latest(folder: pathlib.Path) -> int | None:
    """Returns the number of completed rounds of the newest checkpoint, None without any."""
    found = rounds(folder)
    return found[-1] if found else None


def load(
    folder: pathlib.Path, round_number: int, like: Sequence[Any], run: str = ""
) -> list[np.ndarray]:
    """Loads a checkpoint.

    Args:
      folder: Where checkpoints live.
      round_number: Which one.
      like: Arrays, or `tf.TensorSpec`s whose shapes may have unknown sizes, of the shapes and types
        that the checkpoint must have.
      run: As for `save`.

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
        raise _damaged(path, str(error)) from error
    except zipfile.BadZipFile as error:
        raise _damaged(path, str(error)) from error
    leaves = list(members.values())
    if len(leaves) != len(like) or not all(map(_fits, leaves, like)):
        raise errors.UserError(
            f"--output_dir: the checkpoint {path} is not of this model; use another folder"
        )
    if stated.tobytes() != _digest(leaves, round_number, run).tobytes():
        raise _damaged(path, "it is not what this run saved")
    return leaves


def _damaged(path: pathlib.Path, why: str) -> errors.UserError:
    return errors.UserError(
        f"--output_dir: the checkpoint {path} is damaged ({why}); delete it to go on from the one "
        "before"
    )


def _check_size(path: pathlib.Path) -> None:
    """Raises ValueError or BadZipFile if the arrays take more than the file has."""
    with zipfile.ZipFile(path) as file:
        if sum(member.file_size for member in file.infolist()) > path.stat().st_size:
            raise ValueError("it unpacks to more than its size")


def _digest(leaves: Sequence[np.ndarray], round_number: int, run: str) -> np.ndarray:
    digest = hashlib.sha256(f"{run};{round_number};".encode())
    for leaf in map(np.asarray, leaves):
        digest.update(f"{leaf.dtype.str}{leaf.shape};".encode())
        digest.update(leaf.tobytes())
    return np.frombuffer(digest.digest(), np.uint8)


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


def rounds(folder: pathlib.Path) -> list[int]:
    """Returns the numbers of completed rounds of all checkpoints, in order."""
    matches = (_NAME.fullmatch(path.name) for path in folder.glob("round_*.npz"))
    return sorted(int(match[1]) for match in matches if match)
