"""Labels texts with a saved model."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp.errors import UserError
from tff_nlp.serving import model_fingerprint


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """What a model says about some texts.

    Attributes:
      labels: The most probable label of each text.
      probabilities: float32[texts, labels].
    """

    labels: tuple[str, ...]
    probabilities: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Predictor:
    """A loaded model.

    Attributes:
      label_names: Names of the labels, in the order of the probabilities.
    """

    label_names: tuple[str, ...]
    _model: Any = dataclasses.field(repr=False)

    def predict(self, texts: Sequence[str], *, batch_size: int = 64) -> Predictions:
        """Labels texts, `batch_size` at a time; a text that is a single string is a mistake."""
        if isinstance(texts, str):
            raise TypeError("texts must be a sequence of strings, not one string")
        probabilities = np.zeros([len(texts), len(self.label_names)], np.float32)
        # Batches of like lengths hold less padding.
        order = np.argsort([len(text) for text in texts], kind="stable")
        for start in range(0, len(texts), batch_size):
            rows = order[start : start + batch_size]
            batch = [texts[row].encode("utf-8", "replace") for row in rows]
            outputs = self._model.signatures["serving_default"](texts=tf.constant(batch, tf.string))
            probabilities[rows] = outputs["probabilities"].numpy()
        labels = tuple(self.label_names[index] for index in probabilities.argmax(axis=1))
        return Predictions(labels, probabilities)


def load(folder: str | pathlib.Path, *, flag: str = "--model") -> Predictor:
    """Loads what `export` wrote.

    Args:
      folder: The exported model.
      flag: What an error message starts with.

    Raises:
      UserError: If the folder is missing, damaged, holds another kind of model, or one that is no
        longer what its run wrote.
    """
    import tensorflow_text  # noqa: F401 (registers the operations that tokenize)

    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise UserError(f"{flag}={folder}: there is no such folder")
    if not (folder / "saved_model.pb").is_file():
        raise UserError(f"{flag}={folder}: not a saved model: saved_model.pb is missing")
    model_fingerprint.check(folder, flag)
    try:
        model = tf.saved_model.load(str(folder))
    except Exception as error:  # Damaged files fail in many ways.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"{flag}={folder}: cannot load the saved model: {reason}") from error
    missing = {"serving_default", "label_names"} - set(model.signatures)
    if missing:
        raise UserError(f"{flag}={folder}: not a text classifier: no signature {sorted(missing)}")
    names = model.signatures["label_names"]()["label_names"].numpy()
    return Predictor(tuple(name.decode("utf-8") for name in names), model)
