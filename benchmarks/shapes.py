"""Shapes to measure: the model's size, the number of clients and the examples per client."""

import dataclasses
import re

from tff_nlp.errors import UserError

# The same for every shape and contender.
LENGTH = 64  # Tokens per example, without padding.
BATCH = 16  # Examples per batch, or fewer if the client has fewer.
LABELS = 2
DROPOUT = 0.1
POSITIONS = 512  # Rows of the position table.
LEARNING_RATE = 0.01


@dataclasses.dataclass(frozen=True)
class Size:
    """The size of a BERT. The feed-forward layers are four times as wide as the others.

    Attributes:
      layers: Number of transformer layers.
      width: Hidden size.
      heads: Number of attention heads.
      vocabulary: Number of word pieces.
    """

    layers: int
    width: int
    heads: int
    vocabulary: int = 30522


# "micro" is for tests.
SIZES = {
    "micro": Size(2, 32, 2, vocabulary=500),
    "tiny": Size(2, 128, 2),
    "minilm": Size(6, 384, 12),
    "base": Size(12, 768, 12),
}


@dataclasses.dataclass(frozen=True)
class Shape:
    """The model and the data of one round.

    Attributes:
      name: "<size>_<clients>x<examples>".
      size_name: Size of the model, a key of `SIZES`.
      clients: Number of clients per round.
      examples: Number of examples per client.
    """

    name: str
    size_name: str
    clients: int
    examples: int

    @property
    def size(self) -> Size:
        """The model's size."""
        return SIZES[self.size_name]

    @property
    def total_examples(self) -> int:
        """Number of examples per round."""
        return self.clients * self.examples


def parse(name: str) -> Shape:
    """Returns the shape of a name such as "tiny_10x64".

    Raises:
      UserError: If the name is not valid.
    """
    match = re.fullmatch(r"([a-z]+)_([0-9]+)x([0-9]+)", name)
    if match is None or match[1] not in SIZES or not int(match[2]) or not int(match[3]):
        raise UserError(
            f"--shapes={name}: must be <size>_<clients>x<examples> such as tiny_10x64, the size "
            f"one of {', '.join(SIZES)}"
        )
    return Shape(name, match[1], int(match[2]), int(match[3]))
