"""Tokenizes many texts in TensorFlow, one chunk at a time."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tff_nlp.models.vocabulary import CHUNK, as_bytes, bar_of

# Texts, or pairs of a first and a second text.
Texts = Sequence[str] | Sequence[tuple[str, str]]
# Function from string[batch] (from two of them for pairs) to ragged int32[batch, (tokens)].
ToTokens = Callable[..., tf.RaggedTensor]


def encode(
    texts: Sequence[str], to_tokens: ToTokens, second_texts: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Tokenizes texts, or pairs of texts.

    Args:
      texts: The texts, or the first text of each pair.
      to_tokens: Function that tokenizes a batch.
      second_texts: The second text of each pair, or None for single texts.

    Returns:
      The ids of all texts, concatenated, int32[total], and the number of ids of each, int32[texts].
    """
    given = (texts,) if second_texts is None else (texts, second_texts)
    ids, lengths = [np.zeros([0], np.int32)], [np.zeros([0], np.int32)]
    for start in range(0, len(texts), CHUNK):
        chunks = (as_bytes(part[start : start + CHUNK]) for part in given)
        ragged = to_tokens(*(tf.constant(chunk, tf.string) for chunk in chunks))
        ids.append(ragged.flat_values.numpy())
        lengths.append(ragged.row_lengths().numpy().astype(np.int32))
    return np.concatenate(ids), np.concatenate(lengths)


def columns(texts: Texts, *, pairs: bool) -> tuple[list[str], ...]:
    """Returns single texts as one list, or pairs as a list of first and a list of second texts.

    Args:
      texts: The texts, or the pairs.
      pairs: Whether the model reads pairs.

    Raises:
      TypeError: If `texts` is one string, if it holds single texts instead of pairs or pairs
        instead of single texts, or if a pair does not have two texts.
    """
    if isinstance(texts, str):
        raise TypeError("texts must be a sequence of strings, not one string")
    if any(isinstance(text, str) == pairs for text in texts):
        wanted, given = ("pairs of texts", "single texts")[:: 1 if pairs else -1]
        raise TypeError(f"the model reads {wanted}; the texts given are {given}")
    if not pairs:
        return ([str(text) for text in texts],)
    if any(len(pair) != 2 for pair in texts):
        raise TypeError("the model reads pairs of texts: each has a first and a second one")
    return [pair[0] for pair in texts], [pair[1] for pair in texts]


def lengths(texts: Sequence[str], to_tokens: ToTokens) -> np.ndarray:
    """Returns int32[texts], the number of tokens of each text, with a progress bar."""
    found = [np.zeros([0], np.int32)]
    with bar_of("measuring long texts", len(texts), "text", progress=True) as bar:
        for start in range(0, len(texts), CHUNK):
            chunk = as_bytes(texts[start : start + CHUNK])
            ragged = to_tokens(tf.constant(chunk, tf.string))
            found.append(ragged.row_lengths().numpy().astype(np.int32))
            bar.update(len(chunk))
    return np.concatenate(found)
