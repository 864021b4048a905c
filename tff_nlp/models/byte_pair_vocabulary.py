"""Byte-pair vocabularies like that of GPT-2: read from files, or learned from texts."""

import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tff_nlp.errors import UserError, verbatim
from tff_nlp.models.vocabulary import CHUNK, as_bytes, bar_of

END_OF_TEXT = "<|endoftext|>"
VOCABULARY_FILE, MERGES_FILE = "vocab.json", "merges.txt"
# Stands for a byte that is not in the vocabulary: U+001A, the control character "substitute".
SUBSTITUTE = "Ě"

# Pairs that occur only once are not merged.
_LEAST_COUNT = 2

# The tokens in the order of their ids, with GPT-2's characters for bytes. Then the merges: pairs of
# tokens that become one token, in order of priority.
BytePairs = tuple[tuple[str, ...], tuple[tuple[str, str], ...]]


def _byte_characters() -> tuple[str, ...]:
    """Returns the character that represents each byte in vocab.json and merges.txt.

    Bytes that are printable in Latin-1 represent themselves. The others have characters from U+0100
    on (Radford et al. 2019, released code).
    """
    shown = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = iter(range(0x100, 0x200))
    return tuple(chr(byte if byte in shown else next(hidden)) for byte in range(256))


BYTE_CHARACTERS = _byte_characters()
_BYTES = {character: byte for byte, character in enumerate(BYTE_CHARACTERS)}


def bytes_of(token: str) -> bytes:
    """Returns the bytes of a token of the vocabulary. The end-of-text token has no bytes."""
    return b"" if token == END_OF_TEXT else bytes(_BYTES[character] for character in token)


def read_byte_pairs(folder: str | pathlib.Path, flag: str) -> BytePairs:
    """Reads vocab.json and merges.txt.

    Args:
      folder: Folder of the two files.
      flag: Start of the error messages.

    Returns:
      The tokens in the order of their ids, and the merges.

    Raises:
      UserError: If a file is missing or damaged, or if the two files do not fit each other.
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
    vocabulary: Mapping[str, int],
    merges: Iterable[str],
    flag: str,
    *,
    first_line: int = 1,
    places: tuple[str, str] = (VOCABULARY_FILE, MERGES_FILE),
    needs_all_bytes: bool = True,
) -> BytePairs:
    """Returns tokens and merges, after checking that every text can be encoded with them.

    Args:
      vocabulary: Token -> id.
      merges: Pairs of tokens, separated by a blank, in order of priority.
      flag: Start of the error messages.
      first_line: Line number of the first pair, for messages.
      places: Where the vocabulary and the merges were read, for messages.
      needs_all_bytes: Whether each byte must be a token. If not, `SUBSTITUTE` must be one.

    Raises:
      UserError: If the ids are not 0, 1, 2, ..., if a byte, the end of a text, or a part or the
        result of a merge is not a token, or if a merge occurs twice.
    """
    vocabulary_file, merges_file = places
    if not isinstance(vocabulary, Mapping) or not all(
        isinstance(token, str) and type(number) is int for token, number in vocabulary.items()
    ):
        raise UserError(f"{flag}: {vocabulary_file} is not a JSON object of tokens and their ids")
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    if [vocabulary[token] for token in tokens] != list(range(len(tokens))):
        raise UserError(f"{flag}: the ids in {vocabulary_file} are not 0 to {len(tokens) - 1}")
    for token in (END_OF_TEXT, *(BYTE_CHARACTERS if needs_all_bytes else SUBSTITUTE)):
        if token not in vocabulary:
            raise UserError(f"{flag}: {vocabulary_file} lacks the token {token!r}")
    for token in tokens:
        if token != END_OF_TEXT and not set(token) <= set(BYTE_CHARACTERS):
            raise UserError(f"{flag}: {vocabulary_file} has {token!r}, which stands for no bytes")
    pairs: dict[tuple[str, str], int] = {}
    for number, merge in enumerate(merges, start=first_line):
        left, _, right = merge.partition(" ")
        place = f"{flag}: {merges_file}, line {number}"
        for token in (left, right, left + right):
            if token not in vocabulary:
                raise UserError(f"{place}: {merge!r} needs {token!r}, which is not a token")
        if pairs.setdefault((left, right), number) != number:
            raise UserError(f"{place}: {merge!r} is also on line {pairs[left, right]}")
    return tuple(tokens), tuple(pairs)


def train_byte_pairs(texts: Sequence[str], size: int, *, progress: bool = True) -> BytePairs:
    """Learns a byte-level byte-pair vocabulary from texts (Sennrich et al. 2016, section 3.2).

    Texts are split into words as in GPT-2. No token spans two words. Equally frequent pairs are
    merged in the order of their ids, so the same texts always give the same vocabulary.

    Args:
      texts: The corpus.
      size: Maximum number of tokens, including the 256 bytes and the end of a text.
      progress: Whether to show a progress bar. It appears only on a terminal, after two seconds.

    Returns:
      At most `size` tokens, with the end of a text first, and the merges.

    Raises:
      UserError: If `size` is too small.
    """
    import tokenizers

    least = len(BYTE_CHARACTERS) + 1
    if size < least:
        raise UserError(f"`vocabulary_size`={size}: at least {least} rows are needed for all bytes")
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
    return check_byte_pairs(model["vocab"], map(" ".join, model["merges"]), "`corpus`")


def _chunks(texts: Sequence[str], progress: bool) -> Iterator[list[str]]:
    """Yields the texts in chunks. Lone surrogates become question marks."""
    with bar_of("learning byte pairs", len(texts), "text", progress) as bar:
        for start in range(0, len(texts), CHUNK):
            chunk = as_bytes(texts[start : start + CHUNK])
            yield [text.decode("utf-8") for text in chunk]
            bar.update(len(chunk))


def _read(path: pathlib.Path, flag: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"{flag}: {path.name} is missing in {verbatim(path.parent)}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{flag}: {verbatim(path)}: byte {error.start} is not UTF-8") from error
    except OSError as error:
        raise UserError(f"{flag}: {verbatim(path)}: {error.strerror or error}") from error
