"""Byte-pair vocabularies as GPT-2 has them: read from files, or learned from texts."""

import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tff_nlp.errors import UserError
from tff_nlp.models.vocabulary import CHUNK, as_bytes, bar_of

END_OF_TEXT = "<|endoftext|>"
VOCABULARY_FILE, MERGES_FILE = "vocab.json", "merges.txt"

# Pairs that stand only once are no pattern.
_LEAST_COUNT = 2

# Tokens with GPT-2's spelling of bytes, by id; and the pairs that become one, most important first.
BytePairs = tuple[tuple[str, ...], tuple[tuple[str, str], ...]]


def _byte_characters() -> tuple[str, ...]:
    """Returns the character that stands for each byte in vocab.json and merges.txt.

    Bytes that are printable in Latin-1 stand for themselves, the others have characters from
    U+0100 on (Radford et al. 2019, released code).
    """
    shown = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = iter(range(0x100, 0x200))
    return tuple(chr(byte if byte in shown else next(hidden)) for byte in range(256))


BYTE_CHARACTERS = _byte_characters()
_BYTES = {character: byte for byte, character in enumerate(BYTE_CHARACTERS)}


def bytes_of(token: str) -> bytes:
    """Returns the bytes that a token of the vocabulary stands for; the end of a text has none."""
    return b"" if token == END_OF_TEXT else bytes(_BYTES[character] for character in token)


def read_byte_pairs(folder: str | pathlib.Path, flag: str) -> BytePairs:
    """Reads vocab.json and merges.txt.

    Args:
      folder: Where they lie.
      flag: What an error message starts with.

    Returns:
      The tokens by id, and the merges.

    Raises:
      UserError: If a file is missing or damaged, or the two do not fit each other.
    """
    folder = pathlib.Path(folder)
    try:
        vocabulary = json.loads(_read(folder / VOCABULARY_FILE, flag))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{flag}: {VOCABULARY_FILE} is damaged: {error}") from error
    lines = _read(folder / MERGES_FILE, flag).split("\n")
    # GPT-2's own file begins with a comment.
    first = 1 if lines[0].startswith("#version") else 0
    merges = [line.rstrip("\r") for line in lines[first:]]
    while merges and not merges[-1]:
        merges.pop()
    return check_byte_pairs(vocabulary, merges, flag, first_line=first + 1)


def check_byte_pairs(
    vocabulary: Mapping[str, int], merges: Iterable[str], flag: str, *, first_line: int = 1
) -> BytePairs:
    """Returns tokens and merges after checking that every text can be encoded with them.

    Args:
      vocabulary: The id of each token.
      merges: Pairs of tokens with a blank between them, most important first.
      flag: What an error message starts with.
      first_line: The line number of the first pair, for messages.

    Raises:
      UserError: If ids are not 0, 1, 2, ..., or a byte, the end of a text, a part or a result of a
        merge is no token.
    """
    if not isinstance(vocabulary, Mapping) or not all(
        isinstance(token, str) and type(number) is int for token, number in vocabulary.items()
    ):
        raise UserError(f"{flag}: {VOCABULARY_FILE} is no JSON object of tokens and their ids")
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    if [vocabulary[token] for token in tokens] != list(range(len(tokens))):
        raise UserError(f"{flag}: the ids in {VOCABULARY_FILE} are not 0 to {len(tokens) - 1}")
    for token in (END_OF_TEXT, *BYTE_CHARACTERS):
        if token not in vocabulary:
            raise UserError(f"{flag}: {VOCABULARY_FILE} lacks the token {token!r}")
    for token in tokens:
        if token != END_OF_TEXT and not set(token) <= set(BYTE_CHARACTERS):
            raise UserError(f"{flag}: {VOCABULARY_FILE} has {token!r}, which stands for no bytes")
    pairs: dict[tuple[str, str], int] = {}
    for number, merge in enumerate(merges, start=first_line):
        left, _, right = merge.partition(" ")
        place = f"{flag}: {MERGES_FILE}, line {number}"
        for token in (left, right, left + right):
            if token not in vocabulary:
                raise UserError(f"{place}: {merge!r} needs {token!r}, which is no token")
        if pairs.setdefault((left, right), number) != number:
            raise UserError(f"{place}: {merge!r} also stands on line {pairs[left, right]}")
    return tuple(tokens), tuple(pairs)


def train_byte_pairs(texts: Sequence[str], size: int, *, progress: bool = True) -> BytePairs:
    """Learns a byte-level byte-pair vocabulary from texts (Sennrich et al. 2016).

    Texts are split into words as GPT-2 splits them; no token spans two words. Pairs as frequent as
    each other are merged in the order of their ids, so the same texts always give the same
    vocabulary.

    Args:
      texts: The corpus.
      size: The most tokens, the 256 bytes and the end of a text included.
      progress: Whether to show a progress bar, on a terminal and after two seconds.

    Returns:
      At most `size` tokens, the end of a text first, and the merges.

    Raises:
      UserError: If `size` is too small.
    """
    import tokenizers

    least = len(BYTE_CHARACTERS) + 1
    if size < least:
        raise UserError(f"--vocabulary_size={size}: at least {least} rows are needed for all bytes")
    learner = tokenizers.Tokenizer(tokenizers.models.BPE())
    learner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=_LEAST_COUNT,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=list(BYTE_CHARACTERS),
        show_progress=False,
    )
    learner.train_from_iterator(_chunks(texts, progress), trainer)
    model = json.loads(learner.to_str())["model"]
    return check_byte_pairs(model["vocab"], map(" ".join, model["merges"]), "--corpus")


def _chunks(texts: Sequence[str], progress: bool) -> Iterator[list[str]]:
    """Yields the texts, a lone surrogate as a question mark."""
    with bar_of("learning byte pairs", len(texts), "text", progress) as bar:
        for start in range(0, len(texts), CHUNK):
            chunk = as_bytes(texts[start : start + CHUNK])
            yield [text.decode("utf-8") for text in chunk]
            bar.update(len(chunk))


def _read(path: pathlib.Path, flag: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"{flag}: {path.name} is missing in {path.parent}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{flag}: {path}: byte {error.start} is not UTF-8") from error
    except OSError as error:
        raise UserError(f"{flag}: {path}: {error.strerror or error}") from error
