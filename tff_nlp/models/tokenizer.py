"""WordPiece tokenization: texts to token ids."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Sequence
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

# Part of the fingerprint: change it when the same vocabulary and rules start to give other ids.
_SCHEME = "words/1"
# The operation's own limit on a word, in bytes, would make every longer one unknown; the rules
# have a limit of their own.
_ANY_LENGTH = 2**30


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """A WordPiece tokenizer: words by rules, each cut into its longest known pieces.

    Attributes:
      vocabulary: The word pieces; a piece's place is its id.
      rules: How texts become words.
    """

    vocabulary: tuple[str, ...] = dataclasses.field(repr=False)
    rules: WordRules = UNCASED

    def __post_init__(self) -> None:
        missing = sorted(set(SPECIAL_TOKENS) - set(self.vocabulary))
        if missing:
            raise UserError(f"--encoder: the vocabulary lacks the special tokens {missing}")

    def __reduce__(self) -> tuple[Any, ...]:
        # The cached operation holds TensorFlow tensors, which do not travel.
        return Tokenizer, (self.vocabulary, self.rules)

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {token: self.vocabulary.index(token) for token in SPECIAL_TOKENS}

    @property
    def pad_id(self) -> int:
        """The id that fills a batch up to its longest text."""
        return self._ids[PAD]

    @property
    def cls_id(self) -> int:
        """The id of the first token of every text."""
        return self._ids[CLS]

    @property
    def sep_id(self) -> int:
        """The id of the last token of every text."""
        return self._ids[SEP]

    @property
    def unknown_id(self) -> int:
        """The id of a word that has no pieces."""
        return self._ids[UNKNOWN]

    @functools.cached_property
    def fingerprint(self) -> str:
        """A SHA-256 (hex) over everything that decides which ids a text gets."""
        digest = hashlib.sha256()
        rules = json.dumps(dataclasses.asdict(self.rules), sort_keys=True)
        digest.update(f"{_SCHEME}\n{rules}\n".encode())
        for token in self.vocabulary:
            digest.update(token.encode("utf-8", "surrogatepass") + b"\n")
        return digest.hexdigest()

    @functools.cached_property
    def _word_pieces(self) -> Any:
        import tensorflow_text as tf_text

        # Eager even inside a graph, so that the cached object never belongs to one.
        with tf.init_scope():
            return tf_text.FastWordpieceTokenizer(
                vocab=list(self.vocabulary),
                suffix_indicator=JOINER,
                unknown_token=UNKNOWN,
                token_out_type=tf.int32,
                max_bytes_per_word=_ANY_LENGTH,
                no_pretokenization=True,
            )

    def pieces(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Returns ragged int32[batch, (pieces)] for string[batch], nothing added or cut."""
        return self._word_pieces.tokenize(split_words(texts, self.rules)).merge_dims(-2, -1)

    def encode_tensor(self, texts: tf.Tensor, max_tokens: int) -> tf.RaggedTensor:
        """Tokenizes inside TensorFlow, eagerly or in a graph.

        Args:
          texts: string[batch].
          max_tokens: The most tokens a text may have, [CLS] and [SEP] included; 2 or more.

        Returns:
          Ragged int32[batch, (tokens)]: [CLS] pieces [SEP], cut to `max_tokens`.
        """
        _check_max_tokens(max_tokens)
        pieces = self.pieces(texts)[:, : max_tokens - 2]
        column = tf.ones([tf.size(texts), 1], tf.int32)
        return tf.concat([column * self.cls_id, pieces, column * self.sep_id], axis=1)

    def encode(self, texts: Sequence[str], max_tokens: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokenizes many texts.

        Args:
          texts: The texts; a lone surrogate counts as a question mark.
          max_tokens: The most tokens a text may have, [CLS] and [SEP] included; 2 or more.

        Returns:
          ids: int32[total], the ids of all texts one after another, without padding.
          lengths: int32[texts], the number of ids of each text.

        Raises:
          UserError: If `max_tokens` is less than 2.
        """
        _check_max_tokens(max_tokens)
        return many_texts.encode(texts, lambda chunk: self.encode_tensor(chunk, max_tokens))

    def whole_lengths(self, texts: Sequence[str]) -> np.ndarray:
        """Returns int32[texts]: the tokens of each text without any cut, [CLS] and [SEP] too."""
        return many_texts.lengths(texts, self.pieces) + 2


def _check_max_tokens(max_tokens: int) -> None:
    if max_tokens < 2:
        raise UserError(f"--max_tokens={max_tokens}: [CLS] and [SEP] alone are 2 tokens")
