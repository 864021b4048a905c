"""Loads a classifier of any exported format."""

import pathlib
from collections.abc import Callable
from typing import Protocol

from tff_nlp.models import many_texts
from tff_nlp.models.token_counts import TokenCounts
from tff_nlp.serving import model_folder, predictor


class Model(Protocol):
    """A loaded classifier.

    Attributes:
      label_names: Names of the labels, in the order of the probabilities.
      max_tokens: Maximum number of tokens, including [CLS] and [SEP]. Longer texts are cut.
      reads_pairs: Whether the model labels pairs of texts.
    """

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the labels, in the order of the probabilities."""

    @property
    def max_tokens(self) -> int:
        """Maximum number of tokens, including [CLS] and [SEP]."""

    @property
    def reads_pairs(self) -> bool:
        """Whether the model labels pairs of texts."""

    def predict(
        self,
        texts: many_texts.Texts,
        *,
        batch_size: int = 64,
        done: Callable[[int], object] | None = None,
    ) -> predictor.Predictions:
        """Labels texts, see `predictor.Predictor.predict`."""

    def count_tokens(self, texts: many_texts.Texts, *, batch_size: int = 4096) -> TokenCounts:
        """Returns how many tokens of the texts the model reads."""


def load(folder: pathlib.Path, *, flag: str = "model") -> Model:
    """Loads a classifier. The files in its folder decide on the format.

    Args:
      folder: Folder of the exported model.
      flag: Flag that named the folder, for messages.

    Raises:
      UserError: If the folder is missing or damaged, if it holds another kind of model, if a file
        has changed since it was written, or if a package is missing.
    """
    file = model_folder.file_of(folder)
    if file == model_folder.ONNX:
        from tff_nlp.serving import onnx_model  # The formats are optional, and slow to import.

        return onnx_model.load(folder, flag=flag)
    if file == model_folder.TFLITE:
        from tff_nlp.serving import tflite_model

        return tflite_model.load(folder, flag=flag)
    return predictor.load(folder, flag=flag)
