"""The shapes that are measured: a model's size, a number of clients, examples per client."""

import dataclasses
import re

from tff_nlp.errors import UserError

# The same for every shape and contender.
LENGTH = 64  # tokens of an example, without padding
BATCH = 16  # examples, or all that the client has
LABELS = 2
DROPOUT = 0.1
POSITIONS = 512  # rows of the position table
LEARNING_RATE = 0.01


@dataclasses.dataclass(frozen=True)
class Size:
    """The size of a BERT; the feed-forward layers are four times as wide as the others."""

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
    """What one round trains.

    Attributes:
      name: "<size>_<clients>x<examples>".
      size_name: The model's size, a key of `SIZES`.
      clients: Clients per round.
      examples: Examples per client.
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
        """Examples per round."""
        return self.clients * self.examples


def parse(name: str) -> Shape:
    """Returns the shape of a name such as "tiny_10x64".

    Raises:
      UserError: If it is no such name.
    """
    match = re.fullmatch(r"([a-z]+)_([0-9]+)x([0-9]+)", name)
    if match is None or match[1] not in SIZES or not int(match[2]) or not int(match[3]):
        raise UserError(
            f"--shapes={name}: must be <size>_<clients>x<examples> such as tiny_10x64, the size "
            f"one of {', '.join(SIZES)}"
        )
    return Shape(name, match[1], int(match[2]), int(match[3]))
