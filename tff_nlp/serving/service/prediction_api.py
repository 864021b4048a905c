"""POST /v1/predict: the texts of a request, and the answer with labels and probabilities."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pydantic

from tff_nlp.serving.service.answers import RefusedError
from tff_nlp.serving.service.served_models import ServedModel

_FIELDS = ("text", "texts", "model", "version")


class PredictRequest(pydantic.BaseModel):
    """Body of a request: `text` or `texts`. Models of pairs take [first, second] for each text."""

    model_config = pydantic.ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"texts": ["Not bad at all."]}]}
    )

    text: str | tuple[str, str] | None = None
    texts: list[str] | list[tuple[str, str]] | None = None
    model: str | None = None
    version: int | None = None


class Prediction(pydantic.BaseModel):
    """The most probable label of a text, and the probability of each label."""

    label: str
    probabilities: dict[str, float]


class PredictResponse(pydantic.BaseModel):
    """Answer: one prediction for each text, in the order of the request."""

    model: str
    version: int
    predictions: list[Prediction]


class ErrorResponse(pydantic.BaseModel):
    """Answer to every request that fails."""

    error: str


def asked_model(content: dict[str, Any]) -> tuple[str | None, int | None]:
    """Returns the name and the version that a request asks for; None for the default.

    Raises:
      RefusedError: If a field is unknown or has a wrong type.
    """
    unknown = sorted(set(content) - set(_FIELDS))
    if unknown:
        raise RefusedError(422, f"unknown field {unknown[0][:100]!r}: use {', '.join(_FIELDS)}")
    name, version = content.get("model"), content.get("version")
    if not isinstance(name, str | None):
        raise RefusedError(422, "model: must be a string")
    if version is not None and type(version) is not int:  # A bool is an int in Python.
        raise RefusedError(422, "version: must be a whole number")
    return name, version


def texts_of(content: dict[str, Any], pairs: bool) -> list[Any]:
    """Returns the texts of a request, or its pairs of texts.

    Args:
      content: The body.
      pairs: Whether the model reads pairs.

    Raises:
      RefusedError: If there is no text, or one has a wrong type or is blank.
    """
    one, many = content.get("text"), content.get("texts")
    if (one is None) == (many is None):
        raise RefusedError(422, "give either text or texts")
    if one is not None:
        return [checked_text(one, pairs, "text")]
    if not isinstance(many, list):
        raise RefusedError(422, "texts: must be a list")
    if not many:
        raise RefusedError(422, "texts: is empty")
    return [checked_text(text, pairs, f"texts[{number}]") for number, text in enumerate(many)]


def checked_text(value: Any, pairs: bool, where: str) -> Any:
    """Returns a text as it is, or a pair as a tuple.

    Args:
      value: A value of a request.
      pairs: Whether the model reads pairs.
      where: Name of the value, for messages.

    Raises:
      RefusedError: If it has a wrong type or is blank.
    """
    parts = value if pairs else [value]
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        pair = "the model reads pairs of texts: give [first, second]"
        raise RefusedError(422, f"{where}: {pair if pairs else 'must be a string'}")
    if pairs and len(parts) != 2:
        raise RefusedError(422, f"{where}: a pair has two texts")
    if not all(part.strip() for part in parts):
        raise RefusedError(422, f"{where}: is blank")
    return tuple(parts) if pairs else value


def answer(model: ServedModel, probabilities: np.ndarray) -> dict[str, Any]:
    """Returns the answer to a request, in the shape of `PredictResponse`.

    Args:
      model: The model.
      probabilities: float32[texts, labels].
    """
    names = model.label_names
    return {
        "model": model.spec.name,
        "version": model.spec.version,
        "predictions": [
            {
                "label": names[best],
                "probabilities": dict(zip(names, row, strict=True)),
            }
            for best, row in zip(probabilities.argmax(axis=1), decimals(probabilities), strict=True)
        ],
    }


def decimals(probabilities: np.ndarray) -> Sequence[list[float]]:
    """Returns float32 numbers as Python numbers with the fewest digits, so that JSON is short."""
    return probabilities.astype("U").astype(np.float64).tolist()
