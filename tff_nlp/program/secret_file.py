"""The secret of a run's noise on disk: in the private part of its folder, readable by its owner.

It never stands in config.json, result.json, the exported model or a tracker. A run that is resumed
reads it back and so draws the same noise: a round that was computed twice is one release.
"""

import os
import pathlib

from tff_nlp import durable_files, errors
from tff_nlp.privacy.noise_secret import BYTES, NoiseSecret
from tff_nlp.program import run_directory

_NAME = "noise_secret"


def read(folder: pathlib.Path) -> NoiseSecret | None:
    """Returns the secret of a run, None where none was kept.

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
        raise errors.UserError(f"--output_dir: {path} cannot be read ({error})") from error
    if len(value) != BYTES:
        raise errors.UserError(f"--output_dir: {path} is damaged; use another folder")
    return NoiseSecret(value)


def keep(folder: pathlib.Path, secret: NoiseSecret) -> None:
    """Saves a secret, once and for all, in a file that only its owner can read.

    Args:
      folder: The run's folder.
      secret: What its noise derives from. One that a seed repeats needs no file and gets none.

    Raises:
      WriteError: If it cannot be written.
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
