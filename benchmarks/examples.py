"""The examples that every contender trains on."""

import dataclasses

import numpy as np

from benchmarks import shapes
from tff_nlp import seeds

# Id of [PAD]. No example contains it, because every example has full length.
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
        """Returns the batches, client by client. No batch has examples of two clients."""
        starts = range(0, self.tokens.shape[1], shapes.BATCH)
        return [
            (tokens[start : start + shapes.BATCH], labels[start : start + shapes.BATCH])
            for tokens, labels in zip(self.tokens, self.labels, strict=True)
            for start in starts
        ]


def draw(shape: shapes.Shape, distribution: str) -> Examples:
    """Draws random examples. The same arguments give the same examples.

    Args:
      shape: Shape of the round.
      distribution: Distribution of the token ids. "uniform": almost all tokens of a batch are
        different, which is the hardest case for sparse embedding updates. "zipf": the id i has a
        probability proportional to 1 / i, which is more similar to text.
    """
    generator = seeds.generator(0, "benchmark_examples", shape.name, distribution)
    size = (shape.clients, shape.examples, shapes.LENGTH)
    # All ids except PAD_ID, which is the first.
    ids = np.arange(1, shape.size.vocabulary)
    if distribution == "uniform":
        tokens = generator.choice(ids, size)
    else:
        tokens = generator.choice(ids, size, p=(1 / ids) / np.sum(1 / ids))
    labels = generator.integers(0, shapes.LABELS, size[:2])
    return Examples(tokens.astype(np.int32), labels.astype(np.int32))
