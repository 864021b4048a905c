"""Where an exported model is: checked without TensorFlow, so that a mistake is told at once."""

import pathlib

from tff_nlp.errors import UserError


def check(folder: pathlib.Path, flag: str) -> None:
    """Checks that a folder may hold an exported model.

    Args:
      folder: The folder.
      flag: What an error message starts with.

    Raises:
      UserError: If it does not exist or holds no SavedModel.
    """
    if not folder.is_dir():
        raise UserError(f"{flag}={folder}: there is no such folder")
    if not (folder / "saved_model.pb").is_file():
        raise UserError(f"{flag}={folder}: not a saved model: saved_model.pb is missing")


def of_run(folder: pathlib.Path, flag: str) -> pathlib.Path:
    """Returns the model's folder in a run's folder, or the folder itself.

    Raises:
      UserError: If the run is not finished, or there is no model.
    """
    model = folder / "model"
    if folder.is_dir() and not model.exists() and (folder / "config.json").exists():
        raise UserError(f"{flag}={folder}: has no model yet; finish the run first")
    found = model if model.exists() else folder
    check(found, flag)
    return found
