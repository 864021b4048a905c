import json
import multiprocessing
import pathlib

import numpy as np
import pytest

from tff_nlp.clients.token_cache import TokenCache, cache_key, open_token_cache
from tff_nlp.errors import UserError, WriteError

CONTEXT = multiprocessing.get_context("spawn")


def encode(texts, max_tokens):
    """Encodes each character as one token, between tokens 1 and 2."""
    ids = [[1, *(3 + ord(c) % 90 for c in text)][: max_tokens - 1] + [2] for text in texts]
    lengths = np.array([len(row) for row in ids], np.int32)
    return np.array([token for row in ids for token in row], np.int32), lengths


def open_it(folder, corpus, encode=encode, **changes):
    arguments = {"tokenizer_fingerprint": "tok", "vocabulary_size": 100, "max_tokens": 12}
    return open_token_cache(folder, corpus, encode, progress=False, **{**arguments, **changes})


def refuse(texts, max_tokens):
    raise AssertionError("tokenized twice")


@pytest.fixture(name="corpus")
def corpus_fixture(make_corpus):
    return make_corpus(60, texts=["x" * (row % 15) for row in range(60)])


def test_contents_equal_the_encoding(tmp_path, corpus):
    cache = open_it(tmp_path, corpus)
    assert len(cache) == 60
    for row in range(60):
        expected, _ = encode([corpus.texts[row]], 12)
        assert cache.row(row).tolist() == expected.tolist()
    assert cache.tokens.dtype == np.uint16
    assert cache.lengths.max() == 12
    assert not cache.tokens.flags.writeable


def test_many_chunks(tmp_path, make_corpus):
    corpus = make_corpus(10_000)
    cache = open_it(tmp_path, corpus, max_tokens=32)
    for row in (0, 4095, 4096, 8191, 8192, 9999):
        assert cache.row(row).tolist() == encode([corpus.texts[row]], 32)[0].tolist()


def test_opened_again_without_tokenizing(tmp_path, corpus):
    first = open_it(tmp_path, corpus)
    again = open_it(tmp_path, corpus, refuse)
    assert np.array_equal(first.tokens, again.tokens)


def test_read_only_folder_can_be_opened(tmp_path, corpus):
    open_it(tmp_path, corpus)
    for lock in tmp_path.glob("*.lock"):
        lock.unlink()
    tmp_path.chmod(0o500)
    try:
        assert len(open_it(tmp_path, corpus, refuse)) == 60
    finally:
        tmp_path.chmod(0o700)


def test_each_dependency_has_its_own_cache(tmp_path, corpus, make_corpus):
    keys = {
        open_it(tmp_path, corpus).key,
        open_it(tmp_path, corpus, max_tokens=5).key,
        open_it(tmp_path, corpus, tokenizer_fingerprint="other").key,
        open_it(tmp_path, make_corpus(3)).key,
    }
    assert len(keys) == 4
    assert cache_key("a", "b", 3) in {cache_key("a", "b", 3)} - keys


def test_large_vocabularies_take_four_bytes(tmp_path, corpus):
    def large(texts, max_tokens):
        ids, lengths = encode(texts, max_tokens)
        return ids + 100_000, lengths

    cache = open_it(tmp_path, corpus, large, vocabulary_size=200_000)
    assert cache.tokens.dtype == np.int32
    assert cache.row(0).tolist() == [100_001, 100_002]


@pytest.mark.parametrize("name", ["tokens.bin", "offsets.bin", "cache.json"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "empty"])
def test_damaged_caches_are_made_again(tmp_path, corpus, name, damage):
    good = open_it(tmp_path, corpus)
    expected = good.tokens.copy()
    path = good.path / name
    data = bytearray(path.read_bytes())
    if damage == "truncate":
        path.write_bytes(data[:-3])
    elif damage == "flip":
        # In the JSON, the middle of the first checksum.
        data[data.index(b"sha256") + 20 if name == "cache.json" else 17] ^= 1
        path.write_bytes(data)
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
    assert np.array_equal(open_it(tmp_path, corpus).tokens, expected)
    assert np.array_equal(open_it(tmp_path, corpus, refuse).tokens, expected)
    assert not list(tmp_path.glob(".*"))


def test_failure_leaves_nothing_behind(tmp_path, corpus):
    def broken(texts, max_tokens):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_it(tmp_path, corpus, broken)
    assert {path.suffix for path in tmp_path.iterdir()} == {".lock"}
    assert len(open_it(tmp_path, corpus)) == 60


def test_leftovers_of_killed_processes_are_removed(tmp_path, corpus):
    key = cache_key(corpus.fingerprint, "tok", 12)
    leftover = tmp_path / f".{key[:16]}.999.abcd"
    leftover.mkdir()
    (leftover / "tokens.bin").write_bytes(b"half")
    open_it(tmp_path, corpus)
    assert not leftover.exists()


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (([1, 2], [1, 2]), "do not fit"),
        (([1, 2], [2]), "do not fit"),
        (([1] * 120, [2] * 60), None),
        (([1] * 119, [2] * 59 + [1]), None),
        (([1] * 118, [2] * 59 + [0]), "length outside 1 to 12"),
        (([100] * 120, [2] * 60), "id outside 0 to 99"),
        (([-1] * 120, [2] * 60), "id outside 0 to 99"),
    ],
)
def test_a_tokenizer_with_inconsistent_results(tmp_path, corpus, result, message):
    def odd(texts, max_tokens):
        return np.array(result[0]), np.array(result[1])

    if message is None:
        assert len(open_it(tmp_path, corpus, odd)) == 60
    else:
        with pytest.raises(ValueError, match=message):
            open_it(tmp_path, corpus, odd)


def test_mistakes(tmp_path, corpus):
    with pytest.raises(UserError, match="max_tokens=2: must be 3 or more"):
        open_it(tmp_path, corpus, max_tokens=2)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"cache_dir=.*(Not a directory|File exists)"):
        open_it(tmp_path / "file", corpus)


def test_a_full_disk_is_a_write_error(tmp_path, corpus, limited_files):
    limited_files(100)
    with pytest.raises(WriteError, match=r"cache_dir=.*cannot be written \(File too large\)"):
        open_it(tmp_path / "caches", corpus)
    limited_files(None)
    assert len(open_it(tmp_path / "caches", corpus)) == len(corpus)
    assert (tmp_path / "caches").stat().st_mode & 0o777 == 0o700  # Tokens reveal the texts.


def test_padded_and_gather():
    cache = TokenCache(np.arange(1, 11, dtype=np.uint16), np.array([0, 3, 4, 10]), 8, "k")
    assert cache.padded(np.array([1, 0]), pad_id=0).tolist() == [[4, 0, 0], [1, 2, 3]]
    assert cache.padded(np.array([2, 2]), pad_id=9).shape == (2, 6)
    assert cache.padded(np.array([], np.int64), pad_id=0).shape == (0, 0)
    assert cache.gather(np.array([1, 0]), np.array([5, 1]), 7, 99).tolist() == [
        99, 1, 2, 3, 99, 4, 99,
    ]  # fmt: skip


def _open_in_process(folder, corpus, queue, barrier):
    calls = []

    def counting(texts, max_tokens):
        calls.append(len(texts))
        return encode(texts, max_tokens)

    barrier.wait()
    cache = open_it(pathlib.Path(folder), corpus, counting)
    queue.put((int(cache.tokens.sum()), len(cache), len(calls)))


def test_processes_at_once(tmp_path, make_corpus):
    """Three processes open a damaged cache at once: one tokenizes, and all read the same."""
    corpus = make_corpus(20_000)
    damaged = tmp_path / cache_key(corpus.fingerprint, "tok", 12)
    damaged.mkdir()
    (damaged / "cache.json").write_text(json.dumps({"key": "wrong"}))
    queue, barrier = CONTEXT.Queue(), CONTEXT.Barrier(3)
    processes = [
        CONTEXT.Process(target=_open_in_process, args=(str(tmp_path), corpus, queue, barrier))
        for _ in range(3)
    ]
    for process in processes:
        process.start()
    results = [queue.get() for _ in processes]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert len({(total, size) for total, size, _ in results}) == 1
    assert sorted(calls for _, _, calls in results) == [0, 0, 5]
