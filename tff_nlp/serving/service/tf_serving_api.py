"""The REST shape of TensorFlow Serving: POST ...:predict, and the status of a model.

https://www.tensorflow.org/tfx/serving/api_rest describes it. Errors in a body have code 400 there,
and strings may be {"b64": "..."}. The outputs are those of the exported model: label and
probabilities.
"""

import base64
import binascii
from collections.abc import Iterable
from typing import Any

import numpy as np

from tff_nlp.serving.service.answers import RefusedError
from tff_nlp.serving.service.prediction_api import decimals
from tff_nlp.serving.service.served_models import ServedModel

_SIGNATURE = "serving_default"
# Names of the inputs of an exported model, as `saved_models.TEXT_INPUTS`, which needs TensorFlow.
INPUTS = ("texts", "second_texts")


def texts_of(content: dict[str, Any], pairs: bool) -> tuple[list[Any], bool]:
    """Returns the texts of a request, and whether it is in the format of rows ("instances").

    Args:
      content: The body.
      pairs: Whether the model reads pairs.

    Raises:
      RefusedError: With code 400 if the body has another shape.
    """
    signature = content.get("signature_name", _SIGNATURE)
    if signature not in (_SIGNATURE, ""):
        raise RefusedError(400, f'Serving signature name: "{str(signature)[:100]}" not found')
    if ("instances" in content) == ("inputs" in content):
        raise RefusedError(400, 'give either "instances" (rows) or "inputs" (columns)')
    rows = "instances" in content
    texts = _of_rows(content["instances"], pairs) if rows else _of_columns(content["inputs"], pairs)
    if not texts:
        raise RefusedError(400, "there is no text")
    return texts, rows


def answer(model: ServedModel, probabilities: np.ndarray, rows: bool) -> dict[str, Any]:
    """Returns the predictions as rows, or the outputs as columns.

    Args:
      model: The model.
      probabilities: float32[texts, labels].
      rows: Whether the request had rows.
    """
    labels = [model.label_names[best] for best in probabilities.argmax(axis=1)]
    numbers = decimals(probabilities)
    if not rows:
        return {"outputs": {"label": labels, "probabilities": numbers}}
    return {
        "predictions": [
            {"label": label, "probabilities": row}
            for label, row in zip(labels, numbers, strict=True)
        ]
    }


def status(models: Iterable[ServedModel]) -> dict[str, Any]:
    """Returns the status of versions of a model, the newest first. Only loaded ones are served."""
    versions = sorted((model.spec.version for model in models), reverse=True)
    return {
        "model_version_status": [
            {
                "version": str(version),
                "state": "AVAILABLE",
                "status": {"error_code": "OK", "error_message": ""},
            }
            for version in versions
        ]
    }


def _of_rows(instances: Any, pairs: bool) -> list[Any]:
    if not isinstance(instances, list):
        raise RefusedError(400, '"instances" must be a list')
    return [_of_row(row, pairs, f"instances[{number}]") for number, row in enumerate(instances)]


def _of_row(row: Any, pairs: bool, where: str) -> Any:
    names = INPUTS if pairs else INPUTS[:1]
    if not pairs and (isinstance(row, str) or (isinstance(row, dict) and "b64" in row)):
        return _string(row, where)
    if not isinstance(row, dict) or set(row) != set(names):
        shape = ", ".join(f'"{name}": string' for name in names)
        raise RefusedError(400, f"{where}: must be {{{shape}}}{'' if pairs else ' or a string'}")
    texts = tuple(_string(row[name], f"{where}.{name}") for name in names)
    return texts if pairs else texts[0]


def _of_columns(inputs: Any, pairs: bool) -> list[Any]:
    names = INPUTS if pairs else INPUTS[:1]
    if not pairs and isinstance(inputs, list):
        inputs = {names[0]: inputs}
    if not isinstance(inputs, dict) or set(inputs) != set(names):
        raise RefusedError(400, f'"inputs" must have the inputs {", ".join(names)}')
    columns = [inputs[name] for name in names]
    if not all(isinstance(column, list) for column in columns):
        raise RefusedError(400, '"inputs": each input must be a list')
    if len(set(map(len, columns))) != 1:
        raise RefusedError(400, '"inputs": the inputs have different lengths')
    read = [
        [_string(value, f"inputs.{name}[{number}]") for number, value in enumerate(column)]
        for name, column in zip(names, columns, strict=True)
    ]
    return list(zip(*read, strict=True)) if pairs else read[0]


def _string(value: Any, where: str) -> str:
    """Returns a string, or the decoded string of {"b64": "..."}."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str):
        try:
            return base64.b64decode(value["b64"], validate=True).decode("utf-8")
        except (binascii.Error, ValueError) as error:
            raise RefusedError(400, f"{where}: not UTF-8 text in base64") from error
    raise RefusedError(400, f"{where}: must be a string")
