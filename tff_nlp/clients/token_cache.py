"""A corpus that is tokenized once and stored on disk. Each run memory-maps it."""

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import json
import os
import pathlib
import secrets
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tqdm

from tff_nlp import durable_files
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.errors import UserError, WriteError, setting

Encode = Callable[..., tuple[np.ndarray, np.ndarray]]

# Part of the key. After a change of the format, an old cache is never read.
_FORMAT = 1
_CHUNK = 4096


@dataclasses.dataclass(frozen=True, eq=False)
class TokenCache:
    """The token ids of every example of a corpus, without padding.

    Text, or pair of texts, `i` is `tokens[offsets[i]:offsets[i + 1]]`.

    Attributes:
      tokens: Token ids of all texts, uint16[tokens] or int32[tokens], read-only and usually
        memory-mapped.
      offsets: Begin and end of each text in `tokens`, int64[examples + 1].
      max_tokens: Maximum number of tokens of a text, with special tokens. Longer texts were cut.
      key: SHA-256 of all that the contents depend on: corpus, tokenizer, `max_tokens`, format.
      path: The folder on disk, or None if the arrays are only in memory.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    max_tokens: int
    key: str
    path: pathlib.Path | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @functools.cached_property
    def lengths(self) -> np.ndarray:
        """The number of tokens of each text, int32[examples]."""
        return np.diff(self.offsets).astype(np.int32)

    def row(self, row: int) -> np.ndarray:
        """Returns the tokens of one text, int32[length].

        Args:
          row: Row of the corpus.
        """
        return self.tokens[self.offsets[row] : self.offsets[row + 1]].astype(np.int32)

    def padded(self, rows: np.ndarray, pad_id: int) -> np.ndarray:
        """Returns the tokens of some texts, padded at the end, int32[rows, length of the longest].

        Args:
          rows: Rows of the corpus, int64[rows].
          pad_id: Id of the padding.
        """
        width = int(self.lengths[rows].max(initial=0))
        flat = self.gather(rows, np.arange(len(rows)) * width, len(rows) * width, pad_id)
        return flat.reshape(len(rows), width)

    def gather(self, rows: np.ndarray, places: np.ndarray, size: int, pad_id: int) -> np.ndarray:
        """Returns int32[size] in which text `rows[i]` begins at `places[i]`.

        Args:
          rows: Rows of the corpus, int64[texts].
          places: Begin of each text in the result, int64[texts]. Texts must not overlap.
          size: Length of the result.
          pad_id: Id at all other places.
        """
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        ends = np.cumsum(lengths)
        # Position within the text, for every token of the result.
        within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
        flat = np.full(size, pad_id, dtype=np.int32)
        flat[within + np.repeat(places, lengths)] = self.tokens[within + np.repeat(starts, lengths)]
        return flat


def cache_key(corpus_fingerprint: str, tokenizer_fingerprint: str, max_tokens: int) -> str:
    """Returns the key of the cache of a corpus, a tokenizer and a maximum length, a SHA-256."""
    facts = json.dumps([_FORMAT, corpus_fingerprint, tokenizer_fingerprint, max_tokens])
    return hashlib.sha256(facts.encode()).hexdigest()


def open_token_cache(
    cache_dir: str | os.PathLike[str],
    corpus: Corpus,
    encode: Encode,
    *,
    tokenizer_fingerprint: str,
    vocabulary_size: int,
    max_tokens: int,
    progress: bool = True,
) -> TokenCache:
    """Opens the token cache of a corpus. If it is missing or damaged, it is made first.

    A finished cache is renamed into place in one step, so processes that start at the same time
    cannot damage it. One process makes it while the others wait. If the file system has no locks,
    each process makes its own cache, and the first one stays.

    Args:
      cache_dir: The folder of all token caches.
      corpus: The texts.
      encode: Function (texts, max_tokens), for pairs of texts (texts, max_tokens, second texts), ->
        (ids of all examples, int32[tokens]; number of tokens of each example, int32[examples]), as
        `Tokenizer.encode`.
      tokenizer_fingerprint: Fingerprint of the tokenizer. It must change if `encode` gives other
        ids.
      vocabulary_size: Number of ids; all ids are smaller. With up to 65,536 ids, a token takes two
        bytes.
      max_tokens: Maximum number of tokens of a text, with special tokens.
      progress: Whether to show a progress bar, on a terminal and after two seconds.

    Raises:
      UserError: If `max_tokens` is below 3, or the folder cannot be written.
      WriteError: If writing fails, for example because the disk is full.
      ValueError: If `encode` returns inconsistent arrays.
    """
    least, held = (5, "two words") if corpus.has_pairs else (3, "a word")
    if max_tokens < least:
        raise UserError(
            f"`max_tokens`={max_tokens}: must be {least} or more, to hold {held} between [CLS] and"
            " [SEP]"
        )
    key = cache_key(corpus.fingerprint, tokenizer_fingerprint, max_tokens)
    folder = pathlib.Path(cache_dir) / key
    cache = _read(folder, key)
    if cache is not None:
        return cache
    try:
        # The folder is private, because the tokens reveal the texts.
        folder.parent.mkdir(durable_files.PRIVATE_FOLDER, parents=True, exist_ok=True)
        with _lock(folder.with_name(f"{key}.lock")) as alone:
            if alone:
                _remove_leftovers(folder)
            cache = _read(folder, key)  # Another process may have made it meanwhile.
            if cache is None:
                chunks = _encoded(corpus, encode, vocabulary_size, max_tokens, progress)
                _write(folder, key, chunks, vocabulary_size, max_tokens)
                cache = _read(folder, key)
    except OSError as error:
        line = f"{setting('cache_dir', cache_dir)}: cannot be written ({error.strerror or error})"
        if durable_files.is_failure(error):
            raise WriteError(line) from error
        raise UserError(line) from error
    if cache is None:
        raise RuntimeError(f"{folder}: the token cache cannot be read right after it was written")
    return cache


def _encoded(
    corpus: Corpus, encode: Encode, vocabulary_size: int, max_tokens: int, progress: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the checked ids and lengths of one chunk of texts after another."""
    with tqdm.tqdm(
        total=len(corpus),
        desc=f"tokenizing {corpus.name}",
        unit=" texts",
        delay=2,
        disable=None if progress else True,  # None: only on a terminal.
        leave=False,
    ) as bar:
        for start in range(0, len(corpus), _CHUNK):
            texts = corpus.texts[start : start + _CHUNK]
            arguments: list[Any] = [texts, max_tokens]
            if corpus.second_texts is not None:
                arguments.append(corpus.second_texts[start : start + _CHUNK])
            ids, lengths = (np.asarray(part) for part in encode(*arguments))
            if lengths.shape != (len(texts),) or lengths.sum() != ids.size:
                raise ValueError("the tokenizer returned lengths that do not fit texts and ids")
            if lengths.min() < 1 or lengths.max() > max_tokens:
                raise ValueError(f"the tokenizer returned a length outside 1 to {max_tokens}")
            if ids.min() < 0 or ids.max() >= vocabulary_size:
                raise ValueError(f"the tokenizer returned an id outside 0 to {vocabulary_size - 1}")
            yield ids, lengths
            bar.update(len(texts))


def _write(
    folder: pathlib.Path,
    key: str,
    chunks: Iterator[tuple[np.ndarray, np.ndarray]],
    vocabulary_size: int,
    max_tokens: int,
) -> None:
    """Writes the chunks into a temporary folder and renames it into place."""
    dtype = np.dtype("<u2" if vocabulary_size <= 1 << 16 else "<i4")
    temporary = folder.with_name(f".{key[:16]}.{os.getpid()}.{secrets.token_hex(4)}")
    temporary.mkdir()
    try:
        digest = hashlib.sha256()
        all_lengths = [np.zeros(1, dtype=np.int64)]
        with (temporary / "tokens.bin").open("wb") as stream:
            for ids, lengths in chunks:
                data = ids.astype(dtype).tobytes()
                digest.update(data)
                stream.write(data)
                all_lengths.append(lengths.astype(np.int64))
            _sync(stream)
        offsets = np.cumsum(np.concatenate(all_lengths)).astype("<i8").tobytes()
        with (temporary / "offsets.bin").open("wb") as stream:
            stream.write(offsets)
            _sync(stream)
        header = {
            "format": _FORMAT,
            "key": key,
            "max_tokens": max_tokens,
            "dtype": dtype.str,
            "tokens_sha256": digest.hexdigest(),
            "offsets_sha256": hashlib.sha256(offsets).hexdigest(),
        }
        with (temporary / "cache.json").open("w", encoding="utf-8") as stream:
            json.dump(header, stream, indent=2)
            _sync(stream)
        _swap(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap(temporary: pathlib.Path, folder: pathlib.Path) -> None:
    """Renames a finished folder into place. A damaged folder at that place is removed."""
    if folder.exists():
        damaged = temporary.with_name(f"{temporary.name}.damaged")
        folder.rename(damaged)
        shutil.rmtree(damaged, ignore_errors=True)
    try:
        temporary.rename(folder)
    except OSError:
        # A process without a lock was faster; its cache has the same contents.
        if not folder.is_dir():
            raise


def _read(folder: pathlib.Path, key: str) -> TokenCache | None:
    """Opens a cache. Returns None if it is missing, truncated or damaged."""
    try:
        header: dict[str, Any] = json.loads((folder / "cache.json").read_text(encoding="utf-8"))
        if header["key"] != key or header["format"] != _FORMAT:
            return None
        offset_bytes = (folder / "offsets.bin").read_bytes()
        if hashlib.sha256(offset_bytes).hexdigest() != header["offsets_sha256"]:
            return None
        offsets = np.frombuffer(offset_bytes, dtype="<i8")
        tokens = _map(folder / "tokens.bin", np.dtype(header["dtype"]), int(offsets[-1]))
        if hashlib.sha256(tokens.view(np.uint8).data).hexdigest() != header["tokens_sha256"]:
            return None
        return TokenCache(tokens, offsets, int(header["max_tokens"]), key, folder)
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return None


def _map(path: pathlib.Path, dtype: np.dtype, count: int) -> np.ndarray:
    """Returns a read-only memory map as a plain array, because `np.memmap` indexes slowly."""
    if path.stat().st_size != count * dtype.itemsize:
        raise ValueError(f"{path}: truncated")
    if not count:  # An empty file cannot be mapped.
        return np.zeros(0, dtype=dtype)
    return np.memmap(path, dtype=dtype, mode="r").view(np.ndarray)


def _sync(stream: Any) -> None:
    stream.flush()
    os.fsync(stream.fileno())


@contextlib.contextmanager
def _lock(path: pathlib.Path) -> Iterator[bool]:
    """Holds an exclusive lock. The system releases it if the process dies.

    Yields:
      Whether the lock is held. Some network file systems have no locks.
    """
    with path.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX)
        except OSError:
            locked = False
        else:
            locked = True
        yield locked


def _remove_leftovers(folder: pathlib.Path) -> None:
    """Removes temporary folders of killed processes. Only the holder of the lock may call it."""
    for leftover in folder.parent.glob(f".{folder.name[:16]}.*"):
        shutil.rmtree(leftover, ignore_errors=True)
