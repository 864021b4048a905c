"""Finds and checks the folder of an exported model. TensorFlow is not needed, so this is fast."""

import json
import pathlib

from tff_nlp.errors import UserError, setting

# The file of the model in each format, and the same file without its zeros (`packed_file`).
SAVED_MODEL, ONNX, TFLITE = "saved_model.pb", "model.onnx", "model.tflite"
PACKED = ".packed"


def check(folder: pathlib.Path, flag: str) -> None:
    """Checks that a folder may hold an exported model.

    Args:
      folder: The folder.
      flag: Flag that named the folder, for messages.

    Raises:
      UserError: If the folder does not exist or holds no model.
    """
    if not folder.is_dir():
        raise UserError(f"{setting(flag, folder)}: there is no such folder")
    if file_of(folder) is None:
        raise UserError(f"{setting(flag, folder)}: not a saved model: {SAVED_MODEL} is missing")


def file_of(folder: pathlib.Path) -> str | None:
    """Returns the name of the model's file in a folder, which says its format; None for no model.

    Args:
      folder: The folder.
    """
    for name in (SAVED_MODEL, ONNX, TFLITE):
        if (folder / name).is_file() or (folder / f"{name}{PACKED}").is_file():
            return name
    return None


def of_run(folder: pathlib.Path, flag: str) -> pathlib.Path:
    """Returns the model's folder in a run's folder, or the folder itself if it has no such folder.

    Args:
      folder: Folder of a run, or of an exported model.
      flag: Flag that named the folder, for messages.

    Raises:
      UserError: If the run is not finished, or there is no model that this package loads.
    """
    model = folder / "model"
    if (folder / "model.safetensors").is_file():
        raise UserError(
            f"{setting(flag, folder)}: is for transformers; take savedmodel, onnx or tflite"
        )
    if folder.is_dir() and not model.exists() and (folder / "config.json").exists():
        finished = (folder / "result.json").exists()
        why = "has no model" if finished else "has no model yet; finish the run first"
        raise UserError(f"{setting(flag, folder)}: {why}")
    found = model if model.exists() else _newest_version(folder)
    check(found, flag)
    return found


def _newest_version(folder: pathlib.Path) -> pathlib.Path:
    """Returns the newest version in a folder for TensorFlow Serving, or else the folder itself."""
    if not folder.is_dir():
        return folder
    versions = [path for path in folder.iterdir() if path.name.isdecimal() and path.is_dir()]
    return max(versions, key=lambda path: int(path.name), default=folder)


def check_kind(folder: pathlib.Path, flag: str, *, generates: bool) -> None:
    """Checks the kind of an exported model by its info file.

    A folder without a readable info file passes, because loading the model checks the kind again.

    Args:
      folder: Folder of the exported model.
      flag: Flag that named the folder, for messages.
      generates: Whether the model must be a language model, which continues texts. Otherwise it
        must be a classifier.

    Raises:
      UserError: If the model is of the other kind.
    """
    try:
        info = json.loads((folder / "info.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return
    if not isinstance(info, dict) or ("max_new_tokens" in info) == generates:
        return
    if generates:
        raise UserError(
            f"`generate`: {setting(flag, folder)} holds a classifier, which labels texts"
        )
    raise UserError(f"{setting(flag, folder)}: a language model continues texts: add `generate`")
