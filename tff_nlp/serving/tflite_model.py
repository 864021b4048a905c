"""Writes and loads classifiers in the TFLite format, which is part of TensorFlow."""

import os
import pathlib
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp.errors import UserError, setting, verbatim
from tff_nlp.models.huggingface import INPUTS
from tff_nlp.serving import exported_folder, formats, model_folder, tflite_graph
from tff_nlp.serving.plain_bert import PlainBert
from tff_nlp.serving.token_predictor import TokenPredictor

_SIGNATURE = "serving_default"
_SERVING_CODE = (
    "import tensorflow as tf",
    f"interpreter = tf.lite.Interpreter('{model_folder.TFLITE}')",
    f"run = interpreter.get_signature_runner('{_SIGNATURE}')",
    "inputs = {name: value.astype('int32') for name, value in inputs.items()}",
    f"logits = run(**inputs)['{tflite_graph.OUTPUT}']",
)


def write(
    folder: pathlib.Path,
    bert: PlainBert,
    precision: str,
    info: Mapping[str, Any],
    *,
    packed: bool = False,
) -> None:
    """Writes a classifier into a folder: model.tflite, the tokenizer, and info.json.

    Args:
      folder: An existing folder.
      bert: The classifier.
      precision: One of `formats.PRECISIONS`. float16 stores the weights as half floats. int8 stores
        tables and matrices as integers, and rounds the inputs of matrix products when they are
        computed (dynamic range quantization).
      info: Further entries for info.json.
      packed: Whether model.tflite is stored without its zeros, see `packed_file`.
    """
    module = tflite_graph.Module(bert, precision)
    function = module.logits.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
    if precision != formats.FLOAT32:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == formats.FLOAT16:
        converter.target_spec.supported_types = [tf.float16]
    content = converter.convert()
    exported_folder.write(
        folder, bert, model_folder.TFLITE, content, info, _SERVING_CODE, packed=packed
    )


def load(folder: pathlib.Path, *, flag: str = "model") -> TokenPredictor:
    """Loads a classifier that `write` wrote.

    Args:
      folder: Folder of the exported model.
      flag: Flag that named the folder, for messages.

    Raises:
      UserError: If a file is missing, cut, changed or damaged.
    """
    exported = exported_folder.read(folder, model_folder.TFLITE, flag)
    try:
        interpreter = tf.lite.Interpreter(
            model_content=exported.content, num_threads=os.cpu_count()
        )
        run = interpreter.get_signature_runner(_SIGNATURE)
        if set(run.get_input_details()) - set(INPUTS):
            raise ValueError("it has other inputs than this package writes")
    except (ValueError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{setting(flag, folder)}: cannot load {model_folder.TFLITE}: {verbatim(reason)}"
        ) from error

    lock = threading.Lock()

    def logits(ids: np.ndarray, mask: np.ndarray, segments: np.ndarray | None) -> np.ndarray:
        given = zip(INPUTS, (ids, mask, segments), strict=True)
        # An interpreter has one set of buffers.
        with lock:
            found = run(**{name: value for name, value in given if value is not None})
        return found[tflite_graph.OUTPUT]

    return TokenPredictor(exported, logits)
