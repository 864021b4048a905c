"""WordPiece tokenization: texts and pairs of texts to token ids."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp.errors import UserError
from tff_nlp.models import many_texts
from tff_nlp.models.vocabulary import (
    CLS,
    JOINER,
    PAD,
    SEP,
    SPECIAL_TOKENS,
    UNKNOWN,
)
from tff_nlp.models.words import UNCASED, WordRules, split_words

# Part of the fingerprint. Change it if the same vocabulary and rules give other ids than before.
_SCHEME = "words/1"
# Maximum length of a word in bytes: no limit. Longer words would become unknown, and the word rules
# already have their own limit.
_ANY_LENGTH = 2**30


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """A WordPiece tokenizer. It splits texts into words, and words into their longest known pieces.

    Attributes:
      vocabulary: The word pieces. The position of a piece is its id.
      rules: Rules for splitting texts into words.

    Raises:
      UserError: If the vocabulary lacks a special token.
    """

    vocabulary: tuple[str, ...] = dataclasses.field(repr=False)
    rules: WordRules = UNCASED

    def __post_init__(self) -> None:
        missing = sorted(set(SPECIAL_TOKENS) - set(self.vocabulary))
        if missing:
            raise UserError(f"`encoder`: the vocabulary lacks the special tokens {missing}")

    def __reduce__(self) -> tuple[Any, ...]:
        # The cached operations hold TensorFlow tensors, which cannot be pickled.
        return Tokenizer, (self.vocabulary, self.rules)

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {token: self.vocabulary.index(token) for token in SPECIAL_TOKENS}

    @property
    def pad_id(self) -> int:
        """Id of padding."""
        return self._ids[PAD]

    @property
    def cls_id(self) -> int:
        """Id of [CLS], the first token of every text."""
        return self._ids[CLS]

    @property
    def sep_id(self) -> int:
        """Id of [SEP], the last token of every text, and of both texts of a pair."""
        return self._ids[SEP]

    @property
    def unknown_id(self) -> int:
        """Id of a word that cannot be split into known pieces."""
        return self._ids[UNKNOWN]

    @functools.cached_property
    def fingerprint(self) -> str:
        """A SHA-256 hash (hexadecimal) of everything that determines the ids of a text."""
        digest = hashlib.sha256()
        rules = json.dumps(dataclasses.asdict(self.rules), sort_keys=True)
        digest.update(f"{_SCHEME}\n{rules}\n".encode())
        for token in self.vocabulary:
            digest.update(token.encode("utf-8", "surrogatepass") + b"\n")
        return digest.hexdigest()

    @functools.cached_property
    def _word_pieces(self) -> Any:
        import tensorflow_text as tf_text

        # Eager even inside a graph, so that the cached object never belongs to a graph.
        with tf.init_scope():
            return tf_text.FastWordpieceTokenizer(
                vocab=list(self.vocabulary),
                suffix_indicator=JOINER,
                unknown_token=UNKNOWN,
                token_out_type=tf.int32,
                max_bytes_per_word=_ANY_LENGTH,
                no_pretokenization=True,
            )

    @functools.cached_property
    def _traced_pieces(self) -> Callable[[tf.Tensor], tf.RaggedTensor]:
        def split(texts: tf.Tensor) -> tf.RaggedTensor:
            return self._word_pieces.tokenize(split_words(texts, self.rules)).merge_dims(-2, -1)

        # Its hundreds of operations would be built anew for each use in a graph; an exported model
        # of pairs has four uses.
        return tf.function(split, [tf.TensorSpec([None], tf.string)], autograph=False)

    def pieces(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Returns ragged int32[batch, (pieces)] for string[batch], without added tokens or cuts."""
        return self._traced_pieces(texts)

    def cut_pieces(
        self, texts: tf.Tensor, max_tokens: int, second_texts: tf.Tensor | None = None
    ) -> tuple[tf.RaggedTensor, ...]:
        """Returns the pieces of each text, or of both texts of each pair, cut to the maximum.

        The longer text of a pair is cut first. If both are equally long, the second text is cut.

        Args:
          texts: string[batch].
          max_tokens: Maximum number of tokens, including those that `encode_tensor` adds.
          second_texts: The second text of each pair, string[batch], or None for single texts.

        Returns:
          One ragged int32[batch, (pieces)] for single texts, two for pairs.

        Raises:
          UserError: If `max_tokens` leaves no room for the added tokens.
        """
        import tensorflow_text as tf_text

        _check_max_tokens(max_tokens, second_texts is not None)
        pieces = self.pieces(texts)
        if second_texts is None:
            return (pieces[:, : max_tokens - 2],)
        trimmer = tf_text.RoundRobinTrimmer(max_tokens - 3)
        return tuple(trimmer.trim([pieces, self.pieces(second_texts)]))

    def encode_tensor(
        self, texts: tf.Tensor, max_tokens: int, second_texts: tf.Tensor | None = None
    ) -> tf.RaggedTensor:
        """Tokenizes inside TensorFlow, eagerly or in a graph.

        Args:
          texts: string[batch].
          max_tokens: Maximum number of tokens of a text or pair, including [CLS] and [SEP]; 2 or
            more for single texts, 3 or more for pairs.
          second_texts: The second text of each pair, string[batch], or None for single texts.

        Returns:
          Ragged int32[batch, (tokens)]: [CLS] pieces [SEP], or for pairs
          [CLS] pieces [SEP] pieces [SEP], cut to `max_tokens`.

        Raises:
          UserError: If `max_tokens` leaves no room for the added tokens.
        """
        column = tf.ones([tf.size(texts), 1], tf.int32)
        parts = [column * self.cls_id]
        for pieces in self.cut_pieces(texts, max_tokens, second_texts):
            parts += [pieces, column * self.sep_id]
        return tf.concat(parts, axis=1)

    def segment_ids(self, token_ids: tf.Tensor) -> tf.Tensor:
        """Returns int32[batch, length]: 1 for the second text of a pair and its [SEP], else 0.

        Args:
          token_ids: int32[batch, length], padded.
        """
        ends = tf.cast(tf.equal(token_ids, self.sep_id), tf.int32)
        after = tf.cumsum(ends, axis=1, exclusive=True) > 0
        return tf.cast(after & tf.not_equal(token_ids, self.pad_id), tf.int32)

    def encode(
        self, texts: Sequence[str], max_tokens: int, second_texts: Sequence[str] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Tokenizes many texts, or pairs of texts.

        Args:
          texts: The texts. Lone surrogates become question marks.
          max_tokens: Maximum number of tokens of a text or pair, as in `encode_tensor`.
          second_texts: The second text of each pair, or None for single texts.

        Returns:
          ids: int32[total], the ids of all texts, concatenated without padding.
          lengths: int32[texts], the number of ids of each text or pair.

        Raises:
          UserError: If `max_tokens` leaves no room for the added tokens.
        """
        _check_max_tokens(max_tokens, second_texts is not None)

        def to_tokens(chunk: tf.Tensor, second: tf.Tensor | None = None) -> tf.RaggedTensor:
            return self.encode_tensor(chunk, max_tokens, second)

        return many_texts.encode(texts, to_tokens, second_texts)

    def whole_lengths(
        self, texts: Sequence[str], second_texts: Sequence[str] | None = None
    ) -> np.ndarray:
        """Returns int32[texts]: the tokens of each uncut text or pair, including the added ones."""
        found = many_texts.lengths(texts, self.pieces) + added_tokens(second_texts is not None)
        if second_texts is not None:
            found += many_texts.lengths(second_texts, self.pieces)
        return found


def added_tokens(pairs: bool) -> int:
    """Returns the number of tokens ([CLS] and [SEP]) that are added to a text or to a pair."""
    return 3 if pairs else 2


def _check_max_tokens(max_tokens: int, pairs: bool) -> None:
    if max_tokens < added_tokens(pairs):
        added = "[CLS] and two [SEP] alone are 3" if pairs else "[CLS] and [SEP] alone are 2"
        raise UserError(f"`max_tokens`={max_tokens}: {added} tokens")
