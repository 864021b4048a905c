"""Writes and loads folders of SavedModels. Every mistake gives an error of one line."""

import json
import pathlib
import shutil
from collections.abc import Mapping, Set
from typing import Any

import tensorflow as tf

from tff_nlp.errors import UserError, WriteError, setting, verbatim
from tff_nlp.serving import model_fingerprint, model_folder

# A description of the model for people and other programs, in the same folder.
INFO_FILE = "info.json"
# Names of a classifier's inputs. Only models of pairs have the second one.
TEXT_INPUTS = ("texts", "second_texts")


def write(
    folder: str | pathlib.Path,
    module: tf.Module,
    signatures: Mapping[str, Any],
    info: Mapping[str, Any],
    texts: Mapping[str, str] | None = None,
) -> str:
    """Writes a SavedModel and its info.json.

    The folder appears only when it is complete. It replaces an older export.

    Args:
      folder: Folder to write.
      module: Module to save.
      signatures: Name of a signature -> function of the module.
      info: Content of info.json.
      texts: Contents of further files by name.

    Returns:
      The model's fingerprint, see `model_fingerprint`.

    Raises:
      UserError: If the folder holds something else.
      WriteError: If the folder cannot be written.
    """
    folder = pathlib.Path(folder)
    _check_replaceable(folder)
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        tf.saved_model.save(module, str(partial), signatures=dict(signatures))
        (partial / INFO_FILE).write_text(
            json.dumps(info, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        for name, text in (texts or {}).items():
            (partial / name).write_text(text, encoding="utf-8", newline="")
        if folder.exists():
            shutil.rmtree(folder)
        fingerprint = model_fingerprint.of(partial)
        partial.rename(folder)
    except (OSError, tf.errors.OpError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise WriteError(f"{verbatim(folder)}: cannot be written ({verbatim(reason)})") from error
    return fingerprint


def load(folder: pathlib.Path, flag: str, kind: str, signatures: Set[str]) -> Any:
    """Loads a SavedModel.

    Args:
      folder: Folder of the exported model.
      flag: Flag that named the folder, for messages.
      kind: Expected kind of model, for messages.
      signatures: Names of the signatures that such a model has.

    Raises:
      UserError: If the folder is missing or damaged, if it holds another kind of model, or if the
        model has changed since its run.
    """
    import tensorflow_text  # noqa: F401 (registers the operations that tokenize)

    model_folder.check(folder, flag)
    model_fingerprint.check(folder, flag)
    try:
        model = tf.saved_model.load(str(folder))
    except Exception as error:  # Damaged files fail in many ways.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{setting(flag, folder)}: cannot load the saved model: {verbatim(reason)}"
        ) from error
    missing = signatures - set(model.signatures)
    if missing:
        raise UserError(f"{setting(flag, folder)}: not a {kind}: no signature {sorted(missing)}")
    return model


def _check_replaceable(folder: pathlib.Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"`output_dir`: {verbatim(folder)} is a file")
    if any(folder.iterdir()) and not (folder / INFO_FILE).exists():
        raise UserError(
            f"`output_dir`: {verbatim(folder)} holds something that is not an exported model"
        )
