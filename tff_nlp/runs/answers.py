"""Answers of a model for texts: labels of a classifier, continuations of a language model."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar


@dataclasses.dataclass(frozen=True, eq=False)
class Labels:
    """The labels of some texts.

    Attributes:
      labels: The most probable label of each text.
      probabilities: float32[texts, labels].
      names: Names of the labels, in the order of the probabilities.
    """

    labels: Sequence[str]
    probabilities: Any
    names: Sequence[str]
    table_columns: ClassVar = ("predicted_label", "probability")
    json_columns: ClassVar = ("predicted_label", "probabilities")

    def fields(self, position: int) -> tuple[str, str]:
        """Returns the label and its probability."""
        return self.labels[position], f"{max(self._shares(position)):.4f}"

    def values(self, position: int) -> tuple[str, dict[str, float]]:
        """Returns the label and all probabilities."""
        return self.labels[position], dict(zip(self.names, self._shares(position), strict=True))

    def line(self, fields: Sequence[str], text: str) -> str:
        """Returns the line of a plain text: label, probability, text."""
        return "\t".join([*fields, text])

    def _shares(self, position: int) -> list[float]:
        return [round(float(share), 6) for share in self.probabilities[position]]


@dataclasses.dataclass(frozen=True, eq=False)
class Continuations:
    """The continuations of some texts.

    Attributes:
      written: The continuation of each text.
    """

    written: Sequence[str]
    table_columns: ClassVar = ("continuation",)
    json_columns: ClassVar = ("continuation",)

    def fields(self, position: int) -> tuple[str]:
        """Returns the continuation of a text."""
        return (self.written[position],)

    def values(self, position: int) -> tuple[str]:
        """Returns the continuation of a text."""
        return (self.written[position],)

    def line(self, fields: Sequence[str], text: str) -> str:
        """Returns the text and its continuation."""
        return f"{text}{fields[0]}"
