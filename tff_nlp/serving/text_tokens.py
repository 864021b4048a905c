"""Tokens of texts as exported models read them: without the prefix, cut to the maximum."""

import tensorflow as tf

from tff_nlp.models.tokenizer import Tokenizer

# The characters that Python's str.strip removes, as an RE2 pattern.
_BLANKS = r"[\s\x{B}\x{1C}-\x{1F}\x{85}\p{Z}]*"


def encode(
    tokenizer: Tokenizer,
    max_tokens: int,
    strip_prefix: str,
    texts: tf.Tensor,
    second_texts: tf.Tensor | None = None,
) -> tf.RaggedTensor:
    """Returns the tokens of texts, or of pairs of texts, ragged int32[batch, (tokens)].

    Args:
      tokenizer: The tokenizer.
      max_tokens: Maximum number of tokens, including [CLS] and [SEP].
      strip_prefix: Prefix to remove once from the start of each text.
      texts: string[batch], UTF-8.
      second_texts: The second text of each pair, string[batch], or None for single texts.
    """
    given = [_without_prefix(part, strip_prefix) for part in (texts, second_texts)]
    return tokenizer.encode_tensor(given[0], max_tokens, given[1])


def count(
    tokenizer: Tokenizer,
    max_tokens: int,
    strip_prefix: str,
    texts: tf.Tensor,
    second_texts: tf.Tensor | None = None,
) -> dict[str, tf.Tensor]:
    """Counts the tokens that `encode` returns, without [CLS] and [SEP]. It takes its arguments.

    Returns:
      tokens: Number of tokens of each text or pair, int32[batch].
      read: Number of these tokens that are left after cutting, int32[batch].
      unknown: Number of the tokens left that are not in the vocabulary, int32[batch].
    """
    given = [
        _without_prefix(part, strip_prefix) for part in (texts, second_texts) if part is not None
    ]
    whole = tf.add_n([tokenizer.pieces(part).row_lengths() for part in given])
    kept = tf.concat(tokenizer.cut_pieces(given[0], max_tokens, *given[1:]), axis=1)
    unknown = kept.with_flat_values(tf.cast(kept.flat_values == tokenizer.unknown_id, tf.int32))
    return {
        "tokens": tf.cast(whole, tf.int32),
        "read": tf.cast(kept.row_lengths(), tf.int32),
        "unknown": tf.reduce_sum(unknown, axis=1),
    }


def _without_prefix(texts: tf.Tensor | None, strip_prefix: str) -> tf.Tensor | None:
    """Removes the prefix, as loading the training corpus does."""
    if not strip_prefix or texts is None:
        return texts
    prefix = "".join(rf"\x{{{ord(character):X}}}" for character in strip_prefix)
    return tf.strings.regex_replace(texts, f"^{_BLANKS}{prefix}", "", replace_global=False)
