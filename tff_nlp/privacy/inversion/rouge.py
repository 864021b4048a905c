"""How much of the texts came back: ROUGE-N (Lin 2004), and whole texts."""

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import optimize

Words = Sequence[str]


@dataclasses.dataclass(frozen=True)
class Scores:
    """Means over the texts, from 0 to 1. A text that did not come back counts as 0.

    Attributes:
      rouge_1: F-measure of ROUGE-1: common words.
      rouge_2: F-measure of ROUGE-2: common pairs of neighbouring words.
      exact: Share of the texts that came back word by word.
    """

    rouge_1: float
    rouge_2: float
    exact: float


def rouge(one: Words, other: Words, size: int) -> float:
    """Returns the F-measure of the common sequences of `size` words of two texts.

    Texts that are both shorter than `size` words have 1 if they are equal, else 0.
    """
    counts = [
        collections.Counter(tuple(text[i : i + size]) for i in range(len(text) - size + 1))
        for text in (one, other)
    ]
    total = sum(sum(count.values()) for count in counts)
    if not total:
        return float(list(one) == list(other))
    return 2 * sum((counts[0] & counts[1]).values()) / total


def compare(texts: Sequence[Words], found: Sequence[Words]) -> Scores:
    """Compares texts with those that an attacker found, each with the one that is most alike.

    Args:
      texts: The texts.
      found: The texts that were found, in any order.
    """
    if not found:
        return Scores(0.0, 0.0, 0.0)
    alike = np.array([[rouge(text, other, 1) for other in found] for text in texts])
    # Of texts with the same words, the one in the right order.
    alike += 1e-3 * np.array([[rouge(text, other, 2) for other in found] for text in texts])
    rows, columns = optimize.linear_sum_assignment(alike, maximize=True)
    pairs = [(texts[row], found[column]) for row, column in zip(rows, columns, strict=True)]
    sums = [sum(rouge(*pair, size) for pair in pairs) for size in (1, 2)]
    exact = sum(list(text) == list(other) for text, other in pairs)
    return Scores(sums[0] / len(texts), sums[1] / len(texts), exact / len(texts))
