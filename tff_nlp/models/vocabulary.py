"""WordPiece vocabularies: read from a file, or learned from texts."""

import collections
import pathlib
import unicodedata
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow as tf
import tqdm

from tff_nlp.errors import UserError, verbatim
from tff_nlp.models.words import WordRules, split_words

PAD, CLS, SEP, UNKNOWN, MASK = "[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"
SPECIAL_TOKENS = (PAD, UNKNOWN, CLS, SEP, MASK)
# Prefix of a piece that continues a word.
JOINER = "##"

# Number of texts per TensorFlow call: large enough to hide the cost of a call, but small in memory.
CHUNK = 4096
# Pieces are learned from distinct words, the most frequent first, up to this number of characters.
# This limits time and memory on large corpora.
_MOST_CHARACTERS = 5_000_000
# One pass merges all pairs with at least this fraction of the most frequent pair's count.
_SHARE_OF_BEST = 0.5
# Rarer pairs are not merged.
_LEAST_COUNT = 2


def load_vocabulary(path: str | pathlib.Path, *, flag: str = "`encoder`") -> tuple[str, ...]:
    """Reads a vocabulary file: UTF-8, one word piece per line.

    Args:
      path: The file.
      flag: Start of the error messages.

    Raises:
      UserError: If the file cannot be read, has a piece twice or lacks a special token.
    """
    path = pathlib.Path(path)
    try:
        lines = path.read_bytes().decode("utf-8").split("\n")
    except FileNotFoundError as error:
        raise UserError(f"{flag}: {path.name} is missing in {verbatim(path.parent)}") from error
    except OSError as error:
        raise UserError(f"{flag}: {verbatim(path)}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{flag}: {verbatim(path)}: byte {error.start} is not UTF-8") from error
    if lines[-1] == "":
        lines.pop()
    tokens = tuple(line.rstrip("\r") for line in lines)
    rows: dict[str, int] = {}
    for row, token in enumerate(tokens, start=1):
        if token in rows:
            raise UserError(
                f"{flag}: {verbatim(path)}: {token!r} is on lines {rows[token]} and {row}"
            )
        rows[token] = row
    for token in SPECIAL_TOKENS:
        if token not in rows:
            raise UserError(f"{flag}: {verbatim(path)}: the vocabulary lacks {token}")
    return tokens


def vocabulary_text(vocabulary: Sequence[str]) -> str:
    """Returns the content of a vocabulary file, which `load_vocabulary` reads."""
    return "".join(f"{piece}\n" for piece in vocabulary)


def as_bytes(texts: Iterable[str]) -> list[bytes]:
    """Returns the texts in UTF-8. Every lone surrogate becomes a question mark."""
    return [text.encode("utf-8", "replace") for text in texts]


def train_vocabulary(
    texts: Sequence[str], size: int, rules: WordRules, *, progress: bool = True
) -> tuple[str, ...]:
    """Learns a WordPiece vocabulary from texts, in time proportional to their length.

    A Chinese character is always a token by itself, so the most frequent ones get a row each, up to
    three quarters of the vocabulary. The remaining rows hold pieces of all other words: first
    single characters, up to half of these rows, then merges of the most frequent neighbours
    (byte-pair encoding, Sennrich et al. 2016, section 3.2, but with many pairs in one pass).

    Args:
      texts: The corpus.
      size: Maximum number of rows, including the five special tokens.
      rules: The tokenizer's rules for splitting texts into words.
      progress: Whether to show a progress bar. It appears only on a terminal, after two seconds.

    Returns:
      At most `size` word pieces, with the special tokens first ([PAD] has id 0). The same texts in
      the same order always give the same vocabulary.

    Raises:
      UserError: If there is no word in the texts, or if `size` is too small.
    """
    if size < len(SPECIAL_TOKENS) + 1:
        raise UserError(
            f"`vocabulary_size`={size}: at least {len(SPECIAL_TOKENS) + 1} rows are needed"
        )
    counts = _count_words(texts, rules, progress)
    if not counts:
        raise UserError("`corpus`: there is no word in the texts to learn a vocabulary from")
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows = size - len(SPECIAL_TOKENS)
    characters = [word for word, _ in ranked if _is_cjk(word)]
    words = [(word, count) for word, count in ranked if not _is_cjk(word)]
    if words:
        characters = characters[: rows * 3 // 4]
    learned = _learn_pieces(words, rows - len(characters), progress)
    return (*SPECIAL_TOKENS, *characters, *learned)[:size]


def _count_words(
    texts: Sequence[str], rules: WordRules, progress: bool
) -> collections.Counter[str]:
    """Counts the words that the tokenizer will split the texts into."""
    counts: collections.Counter[bytes] = collections.Counter()
    with bar_of("counting words", len(texts), "text", progress) as bar:
        for start in range(0, len(texts), CHUNK):
            chunk = as_bytes(texts[start : start + CHUNK])
            words = split_words(tf.constant(chunk, tf.string), rules)
            counts.update(words.flat_values.numpy().tolist())
            bar.update(len(chunk))
    decoded = collections.Counter({word.decode("utf-8"): n for word, n in counts.items()})
    decoded.pop("", None)
    return decoded


def _is_cjk(word: str) -> bool:
    return len(word) == 1 and unicodedata.name(word, "").startswith("CJK ")


def _learn_pieces(words: Sequence[tuple[str, int]], size: int, progress: bool) -> list[str]:
    """Returns up to `size` word pieces.

    Args:
      words: (word, count) pairs, most frequent first.
      size: Maximum number of pieces.
      progress: Whether to show a progress bar.
    """
    if not words or size < 1:
        return []
    alphabet = _alphabet(words, size)
    # Shuffle equally frequent words, so that the words that are left out are random.
    shuffled = sorted(words, key=lambda item: (-item[1], zlib.crc32(item[0].encode("utf-8"))))
    # A character has two forms, "x" and "##x". At least half of the rows remain for longer pieces.
    symbols = _Symbols(shuffled, alphabet[: max(1, size // 4)])
    with bar_of("learning word pieces", size, "piece", progress) as bar:
        while len(symbols.pieces) < size:
            before = len(symbols.pieces)
            if not symbols.merge(size - before):
                break
            bar.update(len(symbols.pieces) - before)
    return symbols.pieces[:size]


def _alphabet(words: Sequence[tuple[str, int]], size: int) -> list[str]:
    """Returns the characters of the words, most frequent first."""
    counts: collections.Counter[str] = collections.Counter()
    for word, count in words:
        for character in word:
            counts[character] += count
    return sorted(counts, key=lambda character: (-counts[character], character))


class _Symbols:
    """Distinct words as one array of symbols. Frequent neighbours are merged into one symbol.

    Attributes:
      pieces: The word piece of each symbol: first single characters, then merged pieces in the
        order of their merging.
    """

    def __init__(self, words: Sequence[tuple[str, int]], alphabet: Sequence[str]) -> None:
        self.pieces = [*alphabet, *(JOINER + character for character in alphabet)]
        self._known = {piece: number for number, piece in enumerate(self.pieces)}
        numbers = {character: number for number, character in enumerate(alphabet)}
        symbols: list[int] = []
        counts: list[int] = []
        for word, count in words:
            if len(symbols) > _MOST_CHARACTERS:
                break
            # A character outside of the alphabet separates two parts of a word.
            found = [numbers.get(character, -1) for character in word]
            symbols.extend(
                number if place == 0 or number < 0 else number + len(alphabet)
                for place, number in enumerate(found)
            )
            symbols.append(-1)
            counts.extend([count] * (len(word) + 1))
        self._symbols = np.array(symbols, np.int64)
        self._counts = np.array(counts, np.int64)

    def merge(self, most: int) -> bool:
        """Merges the most frequent pairs of neighbours. Returns whether there were any.

        Args:
          most: Maximum number of new pieces.
        """
        left, right = self._symbols[:-1], self._symbols[1:]
        codes = np.where((left >= 0) & (right >= 0), left * len(self.pieces) + right, -1)
        pairs, positions = np.unique(codes, return_inverse=True)
        counts = np.bincount(positions, self._counts[:-1]).astype(np.int64)
        counts[pairs < 0] = 0
        least = max(_LEAST_COUNT, int(np.ceil(_SHARE_OF_BEST * counts.max(initial=0))))
        frequent = np.flatnonzero(counts >= least)
        # By count. Equally frequent pairs keep the order of their symbols.
        chosen = frequent[np.argsort(-counts[frequent], kind="stable")][:most]
        if not len(chosen):
            return False
        ranks = np.full(len(pairs), len(chosen), np.int64)
        ranks[chosen] = np.arange(len(chosen))
        self._replace(ranks[positions], pairs[chosen], least)
        return True

    def _replace(self, ranks: np.ndarray, codes: np.ndarray, least: int) -> None:
        """Replaces each pair by one symbol. If two pairs overlap, the one with the lower rank wins.

        If overlaps leave a pair with a count below `least`, the pair waits for the next pass. The
        first pair never waits.

        Args:
          ranks: int64[symbols - 1], the rank of the pair that starts at each symbol. `len(codes)`
            for other pairs.
          codes: int64[pairs], the pairs as numbers, in the order of their ranks.
          least: Minimum count.
        """
        none, base = len(codes), len(self.pieces)
        before = np.concatenate([[none], ranks[:-1]])
        after = np.concatenate([ranks[1:], [none]])
        merged = np.flatnonzero((ranks < none) & (ranks < before) & (ranks <= after))
        counts = np.bincount(ranks[merged], self._counts[merged], minlength=none)
        numbers = np.array(
            [
                self._number(int(code) // base, int(code) % base)
                if count >= least or rank == 0
                else -1
                for rank, (code, count) in enumerate(zip(codes, counts, strict=True))
            ],
            np.int64,
        )
        merged = merged[numbers[ranks[merged]] >= 0]
        self._symbols[merged] = numbers[ranks[merged]]
        kept = np.ones(len(self._symbols), bool)
        kept[merged + 1] = False
        self._symbols, self._counts = self._symbols[kept], self._counts[kept]

    def _number(self, left: int, right: int) -> int:
        """Returns the symbol of a merged pair. Different pairs may give the same piece."""
        piece = self.pieces[left] + self.pieces[right].removeprefix(JOINER)
        number = self._known.setdefault(piece, len(self.pieces))
        if number == len(self.pieces):
            self.pieces.append(piece)
        return number


def bar_of(subject: str, total: int, unit: str, progress: bool) -> tqdm.tqdm:
    """Returns a progress bar that appears only on a terminal, after two seconds."""
    return tqdm.tqdm(
        total=total,
        desc=subject,
        unit=f" {unit}s",
        delay=2,
        disable=None if progress else True,  # None: only on a terminal.
        leave=False,
    )
