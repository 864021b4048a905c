"""Stores the secret of a run's noise in the private part of its folder.

Only the owner can read the file. The secret is never written to config.json, result.json, the
exported model or a tracker. A resumed run reads the secret and draws the same noise, so a round
that is computed twice is only one release.
"""

import os
import pathlib

from tff_nlp import durable_files, errors
from tff_nlp.privacy.noise_secret import BYTES, NoiseSecret
from tff_nlp.program import checkpoints, run_directory

_NAME = "noise_secret"


def read(folder: pathlib.Path) -> NoiseSecret | None:
    """Returns the secret of a run, or None if there is none.

    Args:
      folder: The run's folder.

    Raises:
      UserError: If the file is damaged or cannot be read.
    """
    path = folder / run_directory.PRIVATE / _NAME
    try:
        value = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise errors.UserError(
            f"`output_dir`: {errors.verbatim(path)} cannot be read ({errors.verbatim(error)})"
        ) from error
    if len(value) != BYTES:
        raise errors.UserError(
            f"`output_dir`: {errors.verbatim(path)} is damaged; use another folder"
        )
    return NoiseSecret(value)


def read_or_make(directory: run_directory.RunDirectory, *, needed: bool = True) -> NoiseSecret:
    """Returns the secret of a run, or a fresh one for a run that has not computed a round.

    Args:
      directory: The run's folder.
      needed: Whether a privacy guarantee depends on it. Otherwise a lost secret is replaced.

    Raises:
      UserError: If rounds were computed with a secret that is lost, or the file is damaged.
    """
    kept = read(directory.path)
    if needed and kept is None and checkpoints.latest(directory.checkpoints):
        raise errors.UserError(
            f"{errors.setting('output_dir', directory.path)}: the secret of the noise is missing "
            f"in {run_directory.PRIVATE}/. Rounds that are computed again would have other noise. "
            "Use another folder"
        )
    return kept or NoiseSecret.fresh()


def keep(folder: pathlib.Path, secret: NoiseSecret) -> None:
    """Saves a secret in a file that only its owner can read. An existing file is not changed.

    Args:
      folder: The run's folder.
      secret: The secret of the run's noise. A secret that derives from a seed is not saved.

    Raises:
      WriteError: If the file cannot be written.
    """
    path = folder / run_directory.PRIVATE / _NAME
    if secret.repeatable or path.exists():
        return
    with durable_files.writing(path):
        path.parent.mkdir(durable_files.PRIVATE_FOLDER, exist_ok=True)
        path.parent.chmod(durable_files.PRIVATE_FOLDER)
    durable_files.replace_text(path, f"{secret.value.hex()}\n")
    with durable_files.writing(path):
        parent = os.open(path.parent, os.O_RDONLY)
        os.fsync(parent)
        os.close(parent)
