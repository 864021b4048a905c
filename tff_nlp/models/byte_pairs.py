"""Byte-pair tokenization as in GPT-2 and SmolLM: texts to token ids and back."""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp.errors import UserError
from tff_nlp.models import many_texts
from tff_nlp.models.byte_pair_vocabulary import (
    BYTE_CHARACTERS,
    END_OF_TEXT,
    SUBSTITUTE,
    bytes_of,
    train_byte_pairs,
)

# Part of the fingerprint. Change it if the same vocabulary gives other ids than before.
_SCHEME = "byte pairs/1"

# Unicode white space. RE2's \s matches only ASCII white space.
_BLANKS = r"\t-\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}"
# GPT-2's pattern ends in "\s+(?!\S)|\s+": the last blank of a run belongs to the word after it. RE2
# has no lookahead, so texts are first split before each such blank, then inside the parts.
_DIGIT = r"\p{N}"
_PART = rf"[{_BLANKS}]?[^{_BLANKS}]+"
_WORD = (
    r"'s|'t|'re|'ve|'m|'ll|'d"
    rf"| ?\p{{L}}+| ?\p{{N}}+| ?[^{_BLANKS}\p{{L}}\p{{N}}]+|[{_BLANKS}]+"
)

# The splitting operation ends a text at NUL, so NUL is replaced by other control characters, which
# the patterns treat in the same way. U+0001 is the escape character and is itself escaped, so that
# different texts stay different.
_STAND_INS = (("\x01", "\x01\x02"), ("\x00", "\x01\x03"))


def split_words(texts: tf.Tensor, *, splits_digits: bool = False) -> tf.RaggedTensor:
    """Splits texts into words as GPT-2 does (Radford et al. 2019, released code).

    The words of a text, joined, give the text back.

    Args:
      texts: string[batch]. Invalid UTF-8 becomes U+FFFD.
      splits_digits: Whether texts are first split before and after each digit, as SmolLM does. Each
        digit is then a word without a blank before it.

    Returns:
      Ragged string[batch, (words)].
    """
    import tensorflow_text as tf_text

    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
    for character, stand_in in _STAND_INS:
        texts = tf.strings.regex_replace(texts, character, stand_in)
    words = tf.expand_dims(texts, 1)
    for pattern in ((_DIGIT,) if splits_digits else ()) + (_PART, _WORD):
        words = tf_text.regex_split(words, pattern, pattern).merge_dims(-2, -1)
    flat = words.flat_values
    for character, stand_in in reversed(_STAND_INS):
        flat = tf.strings.regex_replace(flat, stand_in, character)
    return words.with_flat_values(flat)


@dataclasses.dataclass(frozen=True)
class BytePairTokenizer:
    """A byte-level byte-pair tokenizer. It encodes every text, and ids can be decoded to the text.

    Some vocabularies lack bytes that hardly occur. The substitute character U+001A takes their
    place, and is what is decoded.

    The end-of-text token comes before the first and after the last token of a text. A model learns
    from it how texts begin and end. If a text itself contains the characters of this token, they
    are ordinary characters.

    Attributes:
      vocabulary: The tokens, with GPT-2's characters for bytes. The position of a token is its id.
      merges: Pairs of tokens that become one token, in order of priority.
      splits_digits: Whether each digit is a word, see `split_words`.
    """

    vocabulary: tuple[str, ...] = dataclasses.field(repr=False)
    merges: tuple[tuple[str, str], ...] = dataclasses.field(repr=False)
    splits_digits: bool = False

    @classmethod
    def train(
        cls, texts: Sequence[str], size: int, *, progress: bool = True
    ) -> "BytePairTokenizer":
        """Returns a tokenizer learned from texts. The arguments are those of `train_byte_pairs`."""
        return cls(*train_byte_pairs(texts, size, progress=progress))

    def __reduce__(self) -> tuple[Any, ...]:
        # The cached operations cannot be pickled.
        return BytePairTokenizer, (self.vocabulary, self.merges, self.splits_digits)

    @functools.cached_property
    def end_id(self) -> int:
        """Id of the end-of-text token, which comes before and after each text."""
        return self.vocabulary.index(END_OF_TEXT)

    @property
    def pad_id(self) -> int:
        """Id of padding: one more than the largest id.

        It is not the id of a token, so padding is never mistaken for the end of a text. A model
        never reads it.
        """
        return len(self.vocabulary)

    @functools.cached_property
    def fingerprint(self) -> str:
        """A SHA-256 hash (hexadecimal) of everything that determines the ids of a text."""
        digest = hashlib.sha256(f"{_SCHEME}\n".encode())
        for token in self.vocabulary:
            digest.update(token.encode() + b"\n")
        for left, right in self.merges:
            digest.update(f"{left} {right}\n".encode())
        if self.splits_digits:
            digest.update(b"splits digits\n")
        return digest.hexdigest()

    @functools.cached_property
    def _table(self) -> "_MergeTable":
        return _MergeTable(self.vocabulary, self.merges)

    @functools.cached_property
    def _token_bytes(self) -> np.ndarray:
        # The last row is for padding.
        return np.array([*map(bytes_of, self.vocabulary), b""], object)

    def pieces(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Returns ragged int32[batch, (pieces)] for string[batch], without added tokens or cuts."""
        return self._pieces_of(self._words(texts))

    def _words(self, texts: tf.Tensor) -> tf.RaggedTensor:
        return split_words(texts, splits_digits=self.splits_digits)

    def _pieces_of(self, words: tf.RaggedTensor) -> tf.RaggedTensor:
        distinct, places = tf.unique(words.flat_values)
        pieces = tf.gather(self._table.merged(distinct), places)
        return words.with_flat_values(pieces).merge_dims(-2, -1)

    def encode_tensor(self, texts: tf.Tensor, max_tokens: int) -> tf.RaggedTensor:
        """Tokenizes inside TensorFlow, eagerly or in a graph.

        Args:
          texts: string[batch].
          max_tokens: Maximum number of tokens of a text, including its two ends; 2 or more.

        Returns:
          Ragged int32[batch, (tokens)]: end, pieces, end, cut to `max_tokens`. A text that is cut
          has no end token after it.

        Raises:
          UserError: If `max_tokens` is less than 2.
        """
        _check_max_tokens(max_tokens)
        # Each word gives at least one piece, so no more words are needed.
        pieces = self._pieces_of(self._words(texts)[:, :max_tokens])
        end = tf.fill([tf.size(texts), 1], self.end_id)
        return tf.concat([end, pieces, end], axis=1)[:, :max_tokens]

    def encode_prompts(self, texts: tf.Tensor, max_tokens: int | tf.Tensor) -> tf.RaggedTensor:
        """Tokenizes the beginnings of texts, which a model will continue.

        Args:
          texts: string[batch].
          max_tokens: Maximum number of tokens of a prompt, 1 or more. Longer prompts keep only
            their last tokens.

        Returns:
          Ragged int32[batch, (tokens)]: end, pieces.
        """
        pieces = self.pieces(texts)
        end = tf.fill([tf.size(texts), 1], self.end_id)
        tokens = tf.concat([end, pieces], axis=1)
        return tokens[:, -max_tokens:]

    def encode(self, texts: Sequence[str], max_tokens: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokenizes many texts.

        Args:
          texts: The texts. Lone surrogates become question marks.
          max_tokens: Maximum number of tokens of a text, including its two ends; 2 or more.

        Returns:
          ids: int32[total], the ids of all texts, concatenated without padding.
          lengths: int32[texts], the number of ids of each text.

        Raises:
          UserError: If `max_tokens` is less than 2.
        """
        _check_max_tokens(max_tokens)
        return many_texts.encode(texts, lambda chunk: self.encode_tensor(chunk, max_tokens))

    def whole_lengths(self, texts: Sequence[str]) -> np.ndarray:
        """Returns int32[texts]: the number of tokens of each uncut text, including its two ends."""
        return many_texts.lengths(texts, self.pieces) + 2

    def decode_tensor(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Returns string[batch] for ragged int32[batch, (tokens)], eagerly or in a graph.

        Ends of texts and padding are dropped. Invalid UTF-8, such as half a character, becomes
        U+FFFD.
        """
        table = tf.constant(self._token_bytes, tf.string)
        texts = tf.strings.reduce_join(tf.gather(table, ids), axis=-1)
        return tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Returns the text of int32[tokens], decoded like `decode_tensor`."""
        parts = self._token_bytes[np.asarray(ids, np.int64)]
        return b"".join(parts).decode("utf-8", "replace")


class _MergeTable:
    """Applies the merges of a vocabulary to many words at once.

    A lookup is a binary search in a sorted constant, because a graph would have to own a TensorFlow
    lookup table.
    """

    def __init__(self, vocabulary: Sequence[str], merges: Sequence[tuple[str, str]]) -> None:
        ids = {token: number for number, token in enumerate(vocabulary)}
        self._size = len(vocabulary)
        self._byte_ids = np.array(
            [ids[c] if c in ids else ids[SUBSTITUTE] for c in BYTE_CHARACTERS], np.int32
        )
        # The last key belongs to no pair, so that every search ends at a key.
        keys = [ids[left] * self._size + ids[right] for left, right in merges]
        keys.append(np.iinfo(np.int64).max)
        self._none = len(merges)
        self._ranks = np.argsort(np.array(keys, np.int64)).astype(np.int32)
        self._keys = np.array(keys, np.int64)[self._ranks]
        self._merged = np.array([*(ids[left + right] for left, right in merges), 0], np.int32)

    @functools.cached_property
    def merged(self) -> Any:
        """The function from string[words] to their tokens, ragged int32[words, (pieces)]."""
        # A graph also for eager callers, because a loop of many small steps is slow without one.
        signature = [tf.TensorSpec([None], tf.string)]
        return tf.function(self._merge, input_signature=signature, autograph=False)

    def _merge(self, words: tf.Tensor) -> tf.RaggedTensor:
        """Returns ragged int32[words, (pieces)] for string[words]."""
        data = tf.io.decode_raw(tf.strings.reduce_join(words), tf.uint8)
        symbols = tf.gather(self._byte_ids, tf.cast(data, tf.int32))
        count = tf.size(words)
        owners = tf.repeat(tf.range(count), tf.strings.length(words, "BYTE"))
        any_size = tf.TensorShape([None])
        symbols, owners, _ = tf.while_loop(
            lambda symbols, owners, more: more,
            lambda symbols, owners, more: self._merge_best(symbols, owners, count),
            (symbols, owners, tf.constant(True)),
            shape_invariants=(any_size, any_size, tf.TensorShape([])),
        )
        return tf.RaggedTensor.from_value_rowids(
            symbols, tf.cast(owners, tf.int64), tf.cast(count, tf.int64), validate=False
        )

    def _merge_best(
        self, symbols: tf.Tensor, owners: tf.Tensor, count: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Merges the pair of highest priority in each word, at all its positions.

        Args:
          symbols: int32[symbols], the current tokens of all words.
          owners: int32[symbols], the index of each token's word, in order.
          count: int32[], the number of words.

        Returns:
          The new symbols, the new owners, and whether any pair was merged.
        """
        within = owners[:-1] == owners[1:]
        ranks = tf.where(within, self._ranks_of(symbols[:-1], symbols[1:]), self._none)
        best = tf.gather(tf.math.unsorted_segment_min(ranks, owners[:-1], count), owners[:-1])
        chosen = _without_overlaps((ranks == best) & (ranks < self._none))
        last = tf.constant([False])
        first_half = tf.concat([chosen, last], axis=0)[: tf.size(symbols)]
        second_half = tf.concat([last, chosen], axis=0)[: tf.size(symbols)]
        ranks = tf.concat([ranks, [self._none]], axis=0)[: tf.size(symbols)]
        symbols = tf.where(first_half, tf.gather(self._merged, ranks), symbols)
        return (
            tf.boolean_mask(symbols, ~second_half),
            tf.boolean_mask(owners, ~second_half),
            tf.reduce_any(chosen),
        )

    def _ranks_of(self, left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
        """Returns int32[pairs]: the rank of each pair in the merges, or their number if absent."""
        wanted = tf.cast(left, tf.int64) * self._size + tf.cast(right, tf.int64)
        found = tf.raw_ops.LowerBound(
            sorted_inputs=self._keys[np.newaxis], values=wanted[tf.newaxis], out_type=tf.int32
        )[0]
        return tf.where(
            tf.gather(self._keys, found) == wanted, tf.gather(self._ranks, found), self._none
        )


def _without_overlaps(chosen: tf.Tensor) -> tf.Tensor:
    """Returns bool[pairs]: every second pair of each run of chosen pairs, starting with the first.

    For example, "aaa" has only one pair "aa".

    Args:
      chosen: bool[pairs]. Pair i consists of symbols i and i + 1.
    """
    before = tf.concat([[False], chosen], axis=0)[: tf.size(chosen)]
    begins = chosen & ~before
    run = tf.cumsum(tf.cast(begins, tf.int32))
    starts = tf.concat([[0], tf.cast(tf.where(begins)[:, 0], tf.int32)], axis=0)
    place = tf.range(tf.size(chosen)) - tf.gather(starts, run)
    return chosen & (place % 2 == 0)


def _check_max_tokens(max_tokens: int) -> None:
    if max_tokens < 2:
        raise UserError(f"`max_tokens`={max_tokens}: a text's two ends alone are 2 tokens")
