"""WordPiece tokenization: the vocabulary, and texts to token ids."""

import collections
import dataclasses
import functools
import hashlib
import pathlib
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp.errors import UserError

PAD, CLS, SEP, UNKNOWN, MASK = "[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"
SPECIAL_TOKENS = (PAD, UNKNOWN, CLS, SEP, MASK)

# Texts per call of the tokenizer: large enough to hide the cost of a call, small in memory.
_CHUNK = 4096
# Part of the fingerprint: change it when the same vocabulary starts to give other ids.
_SCHEME = "keras_nlp.BertTokenizer/1"


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """A WordPiece tokenizer (KerasNLP's `BertTokenizer`) and its settings.

    Attributes:
      vocabulary: The word pieces; a piece's place is its id.
      lowercase: Whether texts are case-folded first.
      strip_accents: Whether accents are removed first.
    """

    vocabulary: tuple[str, ...] = dataclasses.field(repr=False)
    lowercase: bool
    strip_accents: bool

    def __post_init__(self) -> None:
        missing = sorted(set(SPECIAL_TOKENS) - set(self.vocabulary))
        if missing:
            raise UserError(f"--encoder: the vocabulary lacks the special tokens {missing}")

    def __reduce__(self) -> tuple[Any, ...]:
        # The cached Keras tokenizer holds TensorFlow resources, which do not travel.
        return Tokenizer, (self.vocabulary, self.lowercase, self.strip_accents)

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
        for part in (_SCHEME, str(bool(self.lowercase)), str(bool(self.strip_accents))):
            digest.update(part.encode() + b"\n")
        for token in self.vocabulary:
            digest.update(token.encode("utf-8", "surrogatepass") + b"\n")
        return digest.hexdigest()

    @functools.cached_property
    def _keras_tokenizer(self) -> Any:
        import keras_nlp

        # Eager even inside a graph, so that the cached object never belongs to one.
        with tf.init_scope():
            return keras_nlp.models.BertTokenizer(
                vocabulary=list(self.vocabulary),
                lowercase=self.lowercase,
                strip_accents=self.strip_accents,
            )

    def encode_tensor(self, texts: tf.Tensor, max_tokens: int) -> tf.RaggedTensor:
        """Tokenizes inside TensorFlow, eagerly or in a graph.

        Args:
          texts: string[batch].
          max_tokens: The most tokens a text may have, [CLS] and [SEP] included; 2 or more.

        Returns:
          Ragged int32[batch, (tokens)]: [CLS] pieces [SEP], cut to `max_tokens`.
        """
        _check_max_tokens(max_tokens)
        pieces = self._keras_tokenizer(texts)[:, : max_tokens - 2]
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
        ids, lengths = [np.zeros([0], np.int32)], [np.zeros([0], np.int32)]
        for start in range(0, len(texts), _CHUNK):
            chunk = as_bytes(texts[start : start + _CHUNK])
            ragged = self.encode_tensor(tf.constant(chunk, tf.string), max_tokens)
            ids.append(ragged.flat_values.numpy())
            lengths.append(ragged.row_lengths().numpy().astype(np.int32))
        return np.concatenate(ids), np.concatenate(lengths)


def as_bytes(texts: Iterable[str]) -> list[bytes]:
    """Returns the texts in UTF-8, with a question mark for every lone surrogate."""
    return [text.encode("utf-8", "replace") for text in texts]


def load_vocabulary(path: str | pathlib.Path, *, flag: str = "--encoder") -> tuple[str, ...]:
    """Reads a vocabulary file: UTF-8, one word piece per line.

    Args:
      path: The file.
      flag: What an error message starts with.

    Raises:
      UserError: If the file cannot be read, holds a piece twice or lacks a special token.
    """
    path = pathlib.Path(path)
    try:
        lines = path.read_bytes().decode("utf-8").split("\n")
    except FileNotFoundError as error:
        raise UserError(f"{flag}: {path.name} is missing in {path.parent}") from error
    except OSError as error:
        raise UserError(f"{flag}: {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{flag}: {path}: byte {error.start} is not UTF-8") from error
    if lines[-1] == "":
        lines.pop()
    tokens = tuple(line.rstrip("\r") for line in lines)
    rows: dict[str, int] = {}
    for row, token in enumerate(tokens, start=1):
        if token in rows:
            raise UserError(f"{flag}: {path}: {token!r} stands on lines {rows[token]} and {row}")
        rows[token] = row
    for token in SPECIAL_TOKENS:
        if token not in rows:
            raise UserError(f"{flag}: {path}: the vocabulary lacks {token}")
    return tokens


def train_vocabulary(
    texts: Sequence[str], size: int, lowercase: bool, strip_accents: bool | None = None
) -> tuple[str, ...]:
    """Learns a WordPiece vocabulary from texts.

    Chinese characters are always tokens of their own, so they are counted, not learned: the most
    frequent ones get a row each, up to three quarters of the vocabulary; pieces of all other words
    are learned (TensorFlow Text's top-down learner) in the rows that remain.

    Args:
      texts: The corpus.
      size: The most rows, the five special tokens included.
      lowercase: As the tokenizer will have it.
      strip_accents: As the tokenizer will have it; as `lowercase` if None.

    Returns:
      At most `size` word pieces, the special tokens first ([PAD] has id 0). The same texts in the
      same order always give the same vocabulary.

    Raises:
      UserError: If there is no word in the texts or `size` is too small.
    """
    if size < len(SPECIAL_TOKENS) + 1:
        raise UserError(
            f"--vocabulary_size={size}: at least {len(SPECIAL_TOKENS) + 1} rows are needed"
        )
    strip_accents = lowercase if strip_accents is None else strip_accents
    counts = _count_words(texts, lowercase, strip_accents)
    if not counts:
        raise UserError("--corpus: there is no word in the texts to learn a vocabulary from")
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows = size - len(SPECIAL_TOKENS)
    characters = [word for word, _ in ranked if _is_cjk(word)]
    words = [(word, count) for word, count in ranked if not _is_cjk(word)]
    if words:
        characters = characters[: rows * 3 // 4]
    learned = _learn_pieces(words, rows - len(characters))
    return (*SPECIAL_TOKENS, *characters, *learned)[:size]


def _learn_pieces(words: list[tuple[str, int]], size: int) -> list[str]:
    """Returns about `size` word pieces, best first, from (word, count) pairs, most frequent first.

    The learner searches for the count from which on a piece gets a row. Every word as frequent as
    that gets one, so the count is at least that of the `size`-th word. Where it is far above, the
    learner returns too many pieces, of which the caller keeps the first.
    """
    from tensorflow_text.tools.wordpiece_vocab import wordpiece_tokenizer_learner_lib as learner

    if not words:
        return []
    least = max(2, words[min(size, len(words)) - 1][1])
    return learner.learn(
        words,
        vocab_size=size,
        reserved_tokens=[],
        lower_thresh=least,
        upper_thresh=4 * least,
        # Each character takes two rows ("x" and "##x"); at least half the rows stay for pieces.
        max_unique_chars=max(1, size // 4),
    )


def _count_words(
    texts: Sequence[str], lowercase: bool, strip_accents: bool
) -> collections.Counter[str]:
    """Counts words as the tokenizer will split them."""
    # The tokenizer's own splitting, which KerasNLP does not export.
    from keras_nlp.src.tokenizers.word_piece_tokenizer import pretokenize

    counts: collections.Counter[bytes] = collections.Counter()
    for start in range(0, len(texts), _CHUNK):
        chunk = tf.constant(as_bytes(texts[start : start + _CHUNK]), tf.string)
        counts.update(pretokenize(chunk, lowercase, strip_accents).flat_values.numpy().tolist())
    decoded: collections.Counter[str] = collections.Counter()
    for word, count in counts.items():
        decoded[word.decode("utf-8", "replace")] += count
    decoded.pop("", None)
    return decoded


def _is_cjk(word: str) -> bool:
    return len(word) == 1 and unicodedata.name(word, "").startswith("CJK ")


def _check_max_tokens(max_tokens: int) -> None:
    if max_tokens < 2:
        raise UserError(f"--max_tokens={max_tokens}: [CLS] and [SEP] alone are 2 tokens")
