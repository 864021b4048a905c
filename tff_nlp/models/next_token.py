"""Scores of next-token predictions, and the baseline of a unigram model."""

import dataclasses
import math

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class TokenScores:
    """Scores of a batch: of the predictions at all positions except the last.

    Attributes:
      losses: float32[batch, length - 1], minus the log probability of the next token, in nats. 0 if
        there is no next token.
      weights: float32[batch, length - 1], 1 if there is a next token, 0 at padding.
      right: float32[batch, length - 1], 1 if the most probable token is the next token.
    """

    losses: tf.Tensor
    weights: tf.Tensor
    right: tf.Tensor


def score(logits: tf.Tensor, token_ids: tf.Tensor, padding_mask: tf.Tensor) -> TokenScores:
    """Scores the prediction of every token of a text except its first.

    The first token is the end-of-text token before each text. It is given, never predicted. The
    end-of-text token after a text is predicted like any other token. A text that was cut has no
    such token, so its end is not scored.

    Args:
      logits: float32[batch, length, vocabulary], the logits of the next token at each position.
      token_ids: int32[batch, length]. The ids at padding are ignored.
      padding_mask: bool[batch, length], true for real tokens, which come first in each row.
    """
    follows = padding_mask[:, 1:]
    weights = tf.cast(follows, tf.float32)
    # Padding has no logit.
    targets = tf.where(follows, token_ids[:, 1:], 0)
    logits = logits[:, :-1]
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    # Do not use "==" here: in the graphs that TFF builds, it compares objects, not values.
    right = tf.equal(tf.argmax(logits, axis=-1, output_type=targets.dtype), targets)
    return TokenScores(
        losses=losses * weights,
        weights=weights,
        right=tf.cast(right & follows, tf.float32),
    )


def perplexity(total_loss: float, total_tokens: float) -> float:
    """Returns the perplexity: exp(sum of losses / number of tokens), both over a whole data set.

    It is not the mean of the perplexities of batches or clients. It is NaN without tokens, and
    infinite if it is too large for a float.

    Args:
      total_loss: Sum of the losses, in nats.
      total_tokens: Number of predicted tokens.
    """
    if total_tokens <= 0:
        return math.nan
    try:
        return math.exp(total_loss / total_tokens)
    except OverflowError:
        return math.inf


def count_targets(tokens: np.ndarray, offsets: np.ndarray, vocabulary_size: int) -> np.ndarray:
    """Counts the tokens that a model predicts: all tokens except the first of each text.

    Args:
      tokens: int[tokens], the token ids of all texts, concatenated as in a token cache.
      offsets: int64[texts + 1], the start of each text, and the end of the last one.
      vocabulary_size: One more than the largest id.

    Returns:
      The count of each token, int64[vocabulary].
    """
    counts = np.bincount(tokens, minlength=vocabulary_size).astype(np.int64)
    begins = offsets[:-1][offsets[:-1] < offsets[1:]]
    return counts - np.bincount(tokens[begins], minlength=vocabulary_size)


def unigram_perplexity(train_counts: np.ndarray, test_counts: np.ndarray) -> float:
    """Returns the test perplexity of a unigram model of the training texts.

    The model has add-one (Laplace) smoothing: a token's probability is
    (count + 1) / (sum of counts + vocabulary size), so a token that is not in the training texts
    also has a probability above 0.

    Args:
      train_counts: int64[vocabulary], from `count_targets` of the training texts.
      test_counts: int64[vocabulary], from `count_targets` of the test texts.
    """
    smooth = train_counts.astype(np.float64) + 1
    losses = np.log(smooth.sum()) - np.log(smooth)
    return perplexity(float(test_counts @ losses), float(test_counts.sum()))
