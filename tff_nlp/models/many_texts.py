"""Many texts through a tokenizer that works in TensorFlow, a chunk at a time."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from tff_nlp.models.vocabulary import CHUNK, as_bytes, bar_of

# string[batch] to ragged int32[batch, (tokens)].
ToTokens = Callable[[tf.Tensor], tf.RaggedTensor]


def encode(texts: Sequence[str], to_tokens: ToTokens) -> tuple[np.ndarray, np.ndarray]:
    """Returns int32[total] ids of all texts, one after another, and int32[texts] their numbers.

    Args:
      texts: The texts.
      to_tokens: What the tokenizer makes of a batch.
    """
    ids, lengths = [np.zeros([0], np.int32)], [np.zeros([0], np.int32)]
    for start in range(0, len(texts), CHUNK):
        ragged = to_tokens(tf.constant(as_bytes(texts[start : start + CHUNK]), tf.string))
        ids.append(ragged.flat_values.numpy())
        lengths.append(ragged.row_lengths().numpy().astype(np.int32))
    return np.concatenate(ids), np.concatenate(lengths)


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
