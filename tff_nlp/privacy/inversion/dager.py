"""DAGER: texts from the update of a client, by tests of single tokens and then of whole texts.

Petrov et al. 2024, "DAGER: Exact Gradient Inversion for Large Language Models", sections 4 and 5.
A token is at a position if its input to the first layer is in the span of that layer's inputs. A
text is in the batch if its inputs to the second layer are in the span there. For an encoder the
second layer's input depends on the whole text. So texts are improved token by token, from random
beginnings, if there are too many to try all.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from tff_nlp import seeds
from tff_nlp.privacy.inversion.span import Span

Text = tuple[int, ...]

# Largest distance of a token that may be there.
_NEAR = 0.02
_MOST_CANDIDATES = 24
# Number of texts that are tried for an update, over all lengths. If a length has more, the texts
# are improved in so many passes from so many beginnings at most.
_TRIED, _PASSES, _BEGINNINGS = 8000, 4, 16
# Two texts with so many equal tokens count as the same.
_ALIKE = 0.5


class Reader(Protocol):
    """The model as the server knows it.

    Attributes:
      first_token: Id of the token before each text.
      last_token: Id of the token after each text.
      most_tokens: Maximum number of tokens of a text.
    """

    first_token: int
    last_token: int
    most_tokens: int

    def first_inputs(self, tokens: np.ndarray, position: int) -> np.ndarray:
        """Returns the first layer's inputs for tokens at a position, float[tokens, width]."""

    def second_inputs(self, texts: np.ndarray) -> np.ndarray:
        """Returns the second layer's inputs for texts of one length, float[texts, length, width].

        Args:
          texts: Token ids, int32[texts, length].
        """


@dataclasses.dataclass(frozen=True, eq=False)
class Seen:
    """What the server reads from an update before it searches for texts.

    Attributes:
      tokens: Ids of the tokens that may be in the texts, ascending.
      first: The span of the first layer's inputs; None if there is none.
      second: The same for the second layer.
    """

    tokens: np.ndarray
    first: Span | None
    second: Span | None


def recover(seen: Seen, reader: Reader, texts: int, seed: int) -> list[Text]:
    """Returns texts that may have been in the client's batch, the most likely ones first.

    Args:
      seen: What the server reads from the update.
      reader: The model.
      texts: Number of texts in the batch, which the server knows.
      seed: Seed of the random beginnings.

    Returns:
      The token ids of at most `texts` texts, with the first and the last token.
    """
    if seen.first is None:
        return []
    at = list(_candidates(seen.tokens, seen.first, reader))
    generator = seeds.generator(seed, "dager")
    scored: dict[Text, float] = {}
    lengths = list(_choices(at, reader))
    for choices in lengths:
        tried = _TRIED // len(lengths)
        scored |= _best_texts(choices, seen.second, reader, generator, tried)
    chosen: list[Text] = []
    for text in sorted(scored, key=lambda t: scored[t]):
        if len(chosen) < texts and not any(_are_alike(text, other) for other in chosen):
            chosen.append(text)
    return chosen


def _candidates(tokens: np.ndarray, first: Span, reader: Reader) -> Iterator[np.ndarray]:
    """Yields the tokens that may be at each position, the nearest ones first."""
    for position in range(reader.most_tokens):
        distances = first.distances(reader.first_inputs(tokens, position))
        order = np.argsort(distances)[:_MOST_CANDIDATES]
        found = tokens[order[distances[order] < _NEAR]]
        if not len(found):
            return
        yield found


def _choices(at: Sequence[np.ndarray], reader: Reader) -> Iterator[list[np.ndarray]]:
    """Yields the tokens at each position of a text, for each length that a text may have."""
    special = (reader.first_token, reader.last_token)
    inner = [found[~np.isin(found, special)] for found in at]
    for length in range(2, len(at) + 1):
        if reader.last_token in at[length - 1]:
            between = inner[1 : length - 1]
            if all(map(len, between)):
                yield [np.array(special[:1]), *between, np.array(special[1:])]


def _best_texts(
    choices: Sequence[np.ndarray],
    second: Span | None,
    reader: Reader,
    generator: np.random.Generator,
    tried: int,
) -> dict[Text, float]:
    """Returns texts of one length with their distances. It tries about so many."""
    count = math.prod(map(len, choices))
    if second is None:
        # Nothing says which tokens belong together.
        return {tuple(int(found[0]) for found in choices): 1.0}
    if count <= tried:
        texts = np.array(list(itertools.product(*choices)), np.int32)
        return dict(_scored(texts, second, reader))
    beginnings = tried // (_PASSES * sum(map(len, choices)))
    beginnings = min(max(beginnings, 1), _BEGINNINGS)
    begin = [generator.choice(found, beginnings) for found in choices]
    texts = np.stack(begin, axis=1).astype(np.int32)
    for _ in range(_PASSES):
        before = texts.copy()
        for position in generator.permutation(len(choices)):
            texts = _improved(texts, position, choices[position], second, reader)
        if (texts == before).all():
            break
    return dict(_scored(texts, second, reader))


def _improved(
    texts: np.ndarray, position: int, tokens: np.ndarray, second: Span, reader: Reader
) -> np.ndarray:
    """Returns the texts with the best of some tokens at a position."""
    if len(tokens) == 1:
        return texts
    tried = np.repeat(texts[:, np.newaxis], len(tokens), axis=1)
    tried[:, :, position] = tokens
    flat = tried.reshape(-1, texts.shape[1])
    scores = _scores(flat, second, reader).reshape(len(texts), len(tokens))
    return tried[np.arange(len(texts)), scores.argmin(axis=1)]


def _scored(texts: np.ndarray, second: Span, reader: Reader) -> Iterator[tuple[Text, float]]:
    scores = _scores(texts, second, reader)
    for text, score in zip(texts.tolist(), scores, strict=True):
        yield tuple(text), float(score)


def _scores(texts: np.ndarray, second: Span, reader: Reader) -> np.ndarray:
    """Returns the mean distance of each text's inputs to the second layer."""
    return second.distances(reader.second_inputs(texts)).mean(axis=1)


def _are_alike(text: Text, other: Text) -> bool:
    """Returns whether two texts of one length have too much in common between the ends."""
    if len(text) != len(other):
        return False
    same = [one == two for one, two in zip(text[1:-1], other[1:-1], strict=True)]
    return not same or sum(same) > _ALIKE * len(same)
