"""Byte-pair tokenization as GPT-2 has it: texts to token ids and back."""

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
    bytes_of,
    train_byte_pairs,
)

# Part of the fingerprint: change it when the same vocabulary starts to give other ids.
_SCHEME = "byte pairs/1"

# White space of Unicode; RE2's own \s means that of ASCII.
_BLANKS = r"\t-\r \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000}"
# GPT-2's pattern ends in "\s+(?!\S)|\s+": the last blank of a run belongs to the word behind it.
# RE2 has no lookahead, so texts are first cut before each such blank, then within the parts.
_PART = rf"[{_BLANKS}]?[^{_BLANKS}]+"
_WORD = (
    r"'s|'t|'re|'ve|'m|'ll|'d"
    rf"| ?\p{{L}}+| ?\p{{N}}+| ?[^{_BLANKS}\p{{L}}\p{{N}}]+|[{_BLANKS}]+"
)

# The splitting operation ends a text at NUL. Other control characters, which the patterns treat
# alike, stand for it. U+0001 begins what is replaced and is replaced itself, so that no two texts
# become one.
_STAND_INS = (("\x01", "\x01\x02"), ("\x00", "\x01\x03"))


def split_words(texts: tf.Tensor) -> tf.RaggedTensor:
    """Splits texts into words as GPT-2 does (Radford et al. 2019, released code); nothing is lost.

    Args:
      texts: string[batch]; what is no UTF-8 counts as U+FFFD.

    Returns:
      Ragged string[batch, (words)].
    """
    import tensorflow_text as tf_text

    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
    for character, stand_in in _STAND_INS:
        texts = tf.strings.regex_replace(texts, character, stand_in)
    parts = tf_text.regex_split(texts, _PART, _PART)
    words = tf_text.regex_split(parts, _WORD, _WORD).merge_dims(-2, -1)
    flat = words.flat_values
    for character, stand_in in reversed(_STAND_INS):
        flat = tf.strings.regex_replace(flat, stand_in, character)
    return words.with_flat_values(flat)


@dataclasses.dataclass(frozen=True)
class BytePairTokenizer:
    """A byte-level byte-pair tokenizer: every text has ids, and ids give the text back.

    The end of a text is a token of its own, which stands before the first and after the last
    token: a model learns from it how texts begin and end. The same characters within a text are
    ordinary characters.

    Attributes:
      vocabulary: The tokens with GPT-2's spelling of bytes; a token's place is its id.
      merges: The pairs of tokens that become one, most important first.
    """

    vocabulary: tuple[str, ...] = dataclasses.field(repr=False)
    merges: tuple[tuple[str, str], ...] = dataclasses.field(repr=False)

    @classmethod
    def train(
        cls, texts: Sequence[str], size: int, *, progress: bool = True
    ) -> "BytePairTokenizer":
        """Returns a tokenizer learned from texts (arguments as for `train_byte_pairs`)."""
        return cls(*train_byte_pairs(texts, size, progress=progress))

    def __reduce__(self) -> tuple[Any, ...]:
        # The cached operations do not travel.
        return BytePairTokenizer, (self.vocabulary, self.merges)

    @functools.cached_property
    def end_id(self) -> int:
        """The id of the token that stands before and after each text."""
        return self.vocabulary.index(END_OF_TEXT)

    @property
    def pad_id(self) -> int:
        """The id that fills a batch up to its longest text: one more than the largest id.

        It is no token, so that padding is never taken for the end of a text; a model never reads
        it.
        """
        return len(self.vocabulary)

    @functools.cached_property
    def fingerprint(self) -> str:
        """A SHA-256 (hex) over everything that decides which ids a text gets."""
        digest = hashlib.sha256(f"{_SCHEME}\n".encode())
        for token in self.vocabulary:
            digest.update(token.encode() + b"\n")
        for left, right in self.merges:
            digest.update(f"{left} {right}\n".encode())
        return digest.hexdigest()

    @functools.cached_property
    def _table(self) -> "_MergeTable":
        return _MergeTable(self.vocabulary, self.merges)

    @functools.cached_property
    def _token_bytes(self) -> np.ndarray:
        # The row of the padding is the last one.
        return np.array([*map(bytes_of, self.vocabulary), b""], object)

    def pieces(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Returns ragged int32[batch, (pieces)] for string[batch], nothing added or cut."""
        return self._pieces_of(split_words(texts))

    def _pieces_of(self, words: tf.RaggedTensor) -> tf.RaggedTensor:
        distinct, places = tf.unique(words.flat_values)
        pieces = tf.gather(self._table.merged(distinct), places)
        return words.with_flat_values(pieces).merge_dims(-2, -1)

    def encode_tensor(self, texts: tf.Tensor, max_tokens: int) -> tf.RaggedTensor:
        """Tokenizes inside TensorFlow, eagerly or in a graph.

        Args:
          texts: string[batch].
          max_tokens: The most tokens a text may have, its two ends included; 2 or more.

        Returns:
          Ragged int32[batch, (tokens)]: end, pieces, end, cut to `max_tokens`: a text that is cut
          has no end after it.
        """
        _check_max_tokens(max_tokens)
        # Each word gives a piece at least: more are not read.
        pieces = self._pieces_of(split_words(texts)[:, :max_tokens])
        end = tf.fill([tf.size(texts), 1], self.end_id)
        return tf.concat([end, pieces, end], axis=1)[:, :max_tokens]

    def encode_prompts(self, texts: tf.Tensor, max_tokens: int | tf.Tensor) -> tf.RaggedTensor:
        """Tokenizes the beginnings of texts, which a model is to go on with.

        Args:
          texts: string[batch].
          max_tokens: The most tokens a prompt may have, 1 or more. Of a longer one the last are
            taken.

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
          texts: The texts; a lone surrogate counts as a question mark.
          max_tokens: The most tokens a text may have, its two ends included; 2 or more.

        Returns:
          ids: int32[total], the ids of all texts one after another, without padding.
          lengths: int32[texts], the number of ids of each text.

        Raises:
          UserError: If `max_tokens` is less than 2.
        """
        _check_max_tokens(max_tokens)
        return many_texts.encode(texts, lambda chunk: self.encode_tensor(chunk, max_tokens))

    def whole_lengths(self, texts: Sequence[str]) -> np.ndarray:
        """Returns int32[texts]: the tokens of each text without any cut, its two ends too."""
        return many_texts.lengths(texts, self.pieces) + 2

    def decode_tensor(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Returns string[batch] for ragged int32[batch, (tokens)], eagerly or in a graph.

        Ends of texts and padding give nothing; bytes that are no UTF-8, such as those of a
        character that is cut, give U+FFFD.
        """
        table = tf.constant(self._token_bytes, tf.string)
        texts = tf.strings.reduce_join(tf.gather(table, ids), axis=-1)
        return tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """Returns the text of int32[tokens]; the rest is as for `decode_tensor`."""
        parts = self._token_bytes[np.asarray(ids, np.int64)]
        return b"".join(parts).decode("utf-8", "replace")


class _MergeTable:
    """Merges words, all at once, by the pairs of a vocabulary.

    A lookup is a binary search in a sorted constant: no resource that a graph would have to own.
    """

    def __init__(self, vocabulary: Sequence[str], merges: Sequence[tuple[str, str]]) -> None:
        ids = {token: number for number, token in enumerate(vocabulary)}
        self._size = len(vocabulary)
        self._byte_ids = np.array([ids[character] for character in BYTE_CHARACTERS], np.int32)
        # What no pair has comes last, so that a search always ends at a key.
        keys = [ids[left] * self._size + ids[right] for left, right in merges]
        keys.append(np.iinfo(np.int64).max)
        self._none = len(merges)
        self._ranks = np.argsort(np.array(keys, np.int64)).astype(np.int32)
        self._keys = np.array(keys, np.int64)[self._ranks]
        self._merged = np.array([*(ids[left + right] for left, right in merges), 0], np.int32)

    @functools.cached_property
    def merged(self) -> Any:
        """The function from string[words] to their tokens, ragged int32[words, (pieces)]."""
        # A graph also for eager callers: a loop of many small steps is slow outside of one.
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
        """Merges the most important pair of each word, wherever it stands in it.

        Args:
          symbols: int32[symbols], the present tokens of all words.
          owners: int32[symbols], the word of each, in order.
          count: int32[], the number of words.

        Returns:
          The new symbols and owners, and whether there was anything to merge.
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
        """Returns int32[pairs], the place of each pair among the merges, or their number."""
        wanted = tf.cast(left, tf.int64) * self._size + tf.cast(right, tf.int64)
        found = tf.raw_ops.LowerBound(
            sorted_inputs=self._keys[np.newaxis], values=wanted[tf.newaxis], out_type=tf.int32
        )[0]
        return tf.where(
            tf.gather(self._keys, found) == wanted, tf.gather(self._ranks, found), self._none
        )


def _without_overlaps(chosen: tf.Tensor) -> tf.Tensor:
    """Returns every other one of chosen neighbours, from the first on: "aaa" has one pair "aa".

    Args:
      chosen: bool[pairs]; pair i holds symbols i and i + 1.
    """
    before = tf.concat([[False], chosen], axis=0)[: tf.size(chosen)]
    begins = chosen & ~before
    run = tf.cumsum(tf.cast(begins, tf.int32))
    starts = tf.concat([[0], tf.cast(tf.where(begins)[:, 0], tf.int32)], axis=0)
    place = tf.range(tf.size(chosen)) - tf.gather(starts, run)
    return chosen & (place % 2 == 0)


def _check_max_tokens(max_tokens: int) -> None:
    if max_tokens < 2:
        raise UserError(f"--max_tokens={max_tokens}: a text's two ends alone are 2 tokens")
