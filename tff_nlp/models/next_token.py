"""How well a causal language model predicts each token, and what counting alone would reach."""

import dataclasses
import math

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class TokenScores:
    """The scores of a batch, for the predictions made at all places but the last.

    Attributes:
      losses: float32[batch, length - 1], minus the log probability of the token that follows, in
        nats; 0 where none does.
      weights: float32[batch, length - 1], 1 where a token follows, 0 at padding.
      right: float32[batch, length - 1], 1 where the most probable token is the one that follows.
    """

    losses: tf.Tensor
    weights: tf.Tensor
    right: tf.Tensor


def score(logits: tf.Tensor, token_ids: tf.Tensor, padding_mask: tf.Tensor) -> TokenScores:
    """Scores the prediction of every token of a text but its first.

    The first token is the end that stands before each text: it is given, never predicted. The end
    after a text is a token like others: to predict it is to predict that the text is over. A text
    that was cut has none, so nothing is counted there.

    Args:
      logits: float32[batch, length, vocabulary], at each place those of the next token.
      token_ids: int32[batch, length]; what stands at padding does not matter.
      padding_mask: bool[batch, length], true for real tokens, which come first in each row.
    """
    follows = padding_mask[:, 1:]
    weights = tf.cast(follows, tf.float32)
    # The id of padding has no logit.
    targets = tf.where(follows, token_ids[:, 1:], 0)
    logits = logits[:, :-1]
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    # Not "==", which compares objects and not values in the graphs that TFF builds.
    right = tf.equal(tf.argmax(logits, axis=-1, output_type=targets.dtype), targets)
    return TokenScores(
        losses=losses * weights,
        weights=weights,
        right=tf.cast(right & follows, tf.float32),
    )


def perplexity(total_loss: float, total_tokens: float) -> float:
    """Returns exp(sum of losses / number of tokens), both over a whole data set.

    It is not the mean of the perplexities of batches or clients. Without tokens it is NaN, and
    where a float has no room for it, infinite.
    """
    if total_tokens <= 0:
        return math.nan
    try:
        return math.exp(total_loss / total_tokens)
    except OverflowError:
        return math.inf


def count_targets(tokens: np.ndarray, offsets: np.ndarray, vocabulary_size: int) -> np.ndarray:
    """Counts the tokens that a model is to predict: all but the first of each text.

    Args:
      tokens: int[tokens], the texts one after another, as a token cache has them.
      offsets: int64[texts + 1], where each begins, and where the last one ends.
      vocabulary_size: One more than the largest id.

    Returns:
      int64[vocabulary].
    """
    counts = np.bincount(tokens, minlength=vocabulary_size).astype(np.int64)
    begins = offsets[:-1][offsets[:-1] < offsets[1:]]
    return counts - np.bincount(tokens[begins], minlength=vocabulary_size)


def unigram_perplexity(train_counts: np.ndarray, test_counts: np.ndarray) -> float:
    """Returns the test perplexity of guessing by how often each token stands in the training texts.

    Add-one smoothing (Laplace): a token's probability is (count + 1) / (all counts + vocabulary),
    so that a token which no training text holds has some.

    Args:
      train_counts: int64[vocabulary], from `count_targets` of the training texts.
      test_counts: int64[vocabulary], of the test texts.
    """
    smooth = train_counts.astype(np.float64) + 1
    losses = np.log(smooth.sum()) - np.log(smooth)
    return perplexity(float(test_counts @ losses), float(test_counts.sum()))


def unigram_accuracy(train_counts: np.ndarray, test_counts: np.ndarray) -> float:
    """Returns the share of test tokens that are the most frequent token of the training texts."""
    total = int(test_counts.sum())
    return float(test_counts[int(train_counts.argmax())]) / total if total else math.nan
