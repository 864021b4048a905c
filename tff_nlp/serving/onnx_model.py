"""Writes and loads classifiers in the ONNX format."""

import importlib.util
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from tff_nlp.errors import UserError, setting, verbatim
from tff_nlp.models.huggingface import INPUTS
from tff_nlp.serving import exported_folder, formats, model_folder, onnx_graph
from tff_nlp.serving.plain_bert import PlainBert
from tff_nlp.serving.token_predictor import TokenPredictor

_SERVING_CODE = (
    "import onnxruntime",
    f"session = onnxruntime.InferenceSession('{model_folder.ONNX}')",
    f"logits = session.run(['{onnx_graph.OUTPUT}'], inputs)[0]",
)
_INSTALL = "install it with: pip install 'tff_nlp[export]'"


def check_installed() -> None:
    """Checks that ONNX models can be written.

    Raises:
      UserError: If the package onnx is missing.
    """
    if importlib.util.find_spec("onnx") is None:
        raise UserError(f"{setting('to', formats.ONNX)}: needs the package onnx; {_INSTALL}")


def write(
    folder: pathlib.Path,
    bert: PlainBert,
    precision: str,
    info: Mapping[str, Any],
    *,
    packed: bool = False,
) -> None:
    """Writes a classifier into a folder: model.onnx, the tokenizer, and info.json.

    Args:
      folder: An existing folder.
      bert: The classifier.
      precision: One of `formats.PRECISIONS`, see `onnx_graph.build`.
      info: Further entries for info.json.
      packed: Whether model.onnx is stored without its zeros, see `packed_file`.
    """
    content = onnx_graph.build(bert, precision).SerializeToString()
    exported_folder.write(
        folder, bert, model_folder.ONNX, content, info, _SERVING_CODE, packed=packed
    )


def load(folder: pathlib.Path, *, flag: str = "model") -> TokenPredictor:
    """Loads a classifier that `write` wrote.

    Args:
      folder: Folder of the exported model.
      flag: Flag that named the folder, for messages.

    Raises:
      UserError: If ONNX Runtime is missing, or a file is missing, cut, changed or damaged.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(
            f"{setting(flag, folder)}: needs the package onnxruntime; {_INSTALL}"
        ) from error
    exported = exported_folder.read(folder, model_folder.ONNX, flag)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # Errors only.
    try:
        session = onnxruntime.InferenceSession(
            exported.content, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime has no base class of its errors.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{setting(flag, folder)}: cannot load {model_folder.ONNX}: {verbatim(reason)}"
        ) from error

    def logits(ids: np.ndarray, mask: np.ndarray, segments: np.ndarray | None) -> np.ndarray:
        given = zip(INPUTS, (ids, mask, segments), strict=True)
        feed = {name: value.astype(np.int64) for name, value in given if value is not None}
        return session.run([onnx_graph.OUTPUT], feed)[0]

    return TokenPredictor(exported, logits)
