"""The examples that every contender trains on."""

import dataclasses

import numpy as np

from experiments.benchmark import shapes
from tff_nlp import seeds

# Of [PAD], which no example contains: every one has its full length.
PAD_ID = 0

# int32[batch, length] token ids and int32[batch] labels.
Batch = tuple[np.ndarray, np.ndarray]

DISTRIBUTIONS = ("uniform", "zipf")


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """A cohort's examples.

    Attributes:
      tokens: int32[clients, examples, length].
      labels: int32[clients, examples].
    """

    tokens: np.ndarray
    labels: np.ndarray

    def batches(self) -> list[Batch]:
        """Returns the batches, client by client; no batch has examples of two clients."""
        starts = range(0, self.tokens.shape[1], shapes.BATCH)
        return [
            (tokens[start : start + shapes.BATCH], labels[start : start + shapes.BATCH])
            for tokens, labels in zip(self.tokens, self.labels, strict=True)
            for start in starts
        ]


def draw(shape: shapes.Shape, distribution: str) -> Examples:
    """Draws random examples, the same ones for the same arguments.

    Args:
      shape: How many.
      distribution: Of the token ids. "uniform" over the whole vocabulary makes almost every token
        of a batch another one, which is the hardest case for sparse embedding updates; "zipf"
        gives the id i a probability in proportion to 1 / i, closer to text.
    """
    generator = seeds.generator(0, "benchmark_examples", shape.name, distribution)
    size = (shape.clients, shape.examples, shapes.LENGTH)
    # Without PAD_ID, which is the first.
    ids = np.arange(1, shape.size.vocabulary)
    if distribution == "uniform":
        tokens = generator.choice(ids, size)
    else:
        tokens = generator.choice(ids, size, p=(1 / ids) / np.sum(1 / ids))
    labels = generator.integers(0, shapes.LABELS, size[:2])
    return Examples(tokens.astype(np.int32), labels.astype(np.int32))
