"""Tokenization: ids, lengths, fingerprints and trained vocabularies."""

import collections
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_nlp.errors import UserError
from tff_nlp.models.tokenizer import (
    SPECIAL_TOKENS,
    Tokenizer,
    load_vocabulary,
    train_vocabulary,
)

WORDS = (*SPECIAL_TOKENS, "good", "film", "un", "##watch", "##able", "!", "cafe", "好", "吃")
TOKENIZER = Tokenizer(WORDS, lowercase=True, strip_accents=True)


def pieces(text, max_tokens=64, tokenizer=TOKENIZER):
    ids, lengths = tokenizer.encode([text], max_tokens)
    assert lengths.tolist() == [len(ids)]
    return [tokenizer.vocabulary[i] for i in ids]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Good FILM!", "good film !"),
        ("unwatchable", "un ##watch ##able"),
        ("Café", "cafe"),
        ("好吃 film", "好 吃 film"),
        ("zebra good", "[UNK] good"),
        ("", ""),
        (" \n\t ", ""),
        ("good\nfilm\r\n", "good film"),
        ("[MASK]", "[UNK] [UNK] [UNK]"),
        ("👍", "[UNK]"),
        ("good" * 100, "[UNK]"),
        ("\ud800", "[UNK]"),
    ],
)
def test_pieces(text, expected):
    assert pieces(text) == ["[CLS]", *expected.split(), "[SEP]"]


def test_case_and_accents_are_kept_when_asked():
    cased = Tokenizer(WORDS, lowercase=False, strip_accents=False)
    assert pieces("Good good café", tokenizer=cased)[1:-1] == ["[UNK]", "good", "[UNK]"]


def test_ids_and_fingerprint():
    assert (TOKENIZER.pad_id, TOKENIZER.unknown_id) == (0, 1)
    assert (TOKENIZER.cls_id, TOKENIZER.sep_id) == (2, 3)
    same = pickle.loads(pickle.dumps(TOKENIZER))
    assert same == TOKENIZER
    assert same.fingerprint == TOKENIZER.fingerprint
    others = [
        Tokenizer(WORDS, False, True),
        Tokenizer(WORDS, True, False),
        Tokenizer((*WORDS, "x"), True, True),
        Tokenizer((*WORDS[:-2], WORDS[-1], WORDS[-2]), True, True),
    ]
    assert len({TOKENIZER.fingerprint, *(t.fingerprint for t in others)}) == 5


def test_truncation_and_dtypes():
    ids, lengths = TOKENIZER.encode(["good " * 50, "good", ""], 8)
    assert ids.dtype == lengths.dtype == np.int32
    assert lengths.tolist() == [8, 3, 2]
    assert ids[[0, 7]].tolist() == [TOKENIZER.cls_id, TOKENIZER.sep_id]
    assert TOKENIZER.encode(["good"], 2)[0].tolist() == [2, 3]
    empty = TOKENIZER.encode([], 8)
    assert [part.shape for part in empty] == [(0,), (0,)]
    with pytest.raises(UserError, match="--max_tokens=1"):
        TOKENIZER.encode(["good"], 1)


def test_many_texts_equal_each_alone():
    """More texts than one call of the tokenizer takes."""
    texts = [f"good {'film ' * (i % 7)}!" for i in range(5000)]
    ids, lengths = TOKENIZER.encode(texts, 6)
    starts = np.cumsum(lengths) - lengths
    for row in (0, 4095, 4096, 4999):
        alone = TOKENIZER.encode([texts[row]], 6)[0]
        assert ids[starts[row] : starts[row] + lengths[row]].tolist() == alone.tolist()


@settings(max_examples=40)
@given(st.lists(st.text(max_size=30), max_size=4), st.integers(2, 12))
def test_any_text_encodes(texts, max_tokens):
    ids, lengths = TOKENIZER.encode(texts, max_tokens)
    assert lengths.sum() == len(ids)
    assert ((lengths >= 2) & (lengths <= max_tokens)).all()
    ends = np.cumsum(lengths) - 1
    assert (ids[ends] == TOKENIZER.sep_id).all()
    assert (ids == TOKENIZER.cls_id).sum() == len(texts)


def test_vocabulary_files(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_bytes("\r\n".join(WORDS).encode())
    assert load_vocabulary(path) == WORDS
    path.write_text("\n".join([*WORDS, "good"]) + "\n")
    with pytest.raises(UserError, match="vocab.txt: 'good' stands on lines 6 and 15"):
        load_vocabulary(path)
    path.write_text("\n".join(w for w in WORDS if w != "[CLS]"))
    with pytest.raises(UserError, match=r"lacks \[CLS\]"):
        load_vocabulary(path)
    path.write_bytes(b"good\n\xff\n")
    with pytest.raises(UserError, match="byte 5 is not UTF-8"):
        load_vocabulary(path)
    with pytest.raises(UserError, match="none.txt is missing"):
        load_vocabulary(tmp_path / "none.txt")
    with pytest.raises(UserError, match="lacks the special tokens"):
        Tokenizer(("good",), True, True)


def test_trained_vocabulary(texts):
    vocabulary = train_vocabulary(texts, 120, lowercase=True)
    assert vocabulary[:5] == SPECIAL_TOKENS
    assert len(set(vocabulary)) == len(vocabulary) <= 120
    assert {"good", "bad", "吃"} <= set(vocabulary)
    tokenizer = Tokenizer(vocabulary, True, True)
    ids, _ = tokenizer.encode(texts, 64)
    assert tokenizer.unknown_id not in ids
    assert not any(piece != piece.lower() for piece in vocabulary[5:])
    cased = train_vocabulary(texts, 120, lowercase=False)
    assert any(piece != piece.lower() for piece in cased[5:])


@pytest.mark.parametrize("size", [6, 8, 20, 50])
def test_size_is_kept(texts, size):
    assert len(train_vocabulary(texts, size, lowercase=True)) <= size


def test_vocabulary_does_not_depend_on_the_process(texts):
    code = (
        "import sys; from tff_nlp.models.tokenizer import train_vocabulary;"
        "texts = eval(sys.stdin.read());"
        "sys.stdout.buffer.write('|'.join(train_vocabulary(texts, 60, True)).encode())"
    )
    output = subprocess.run(
        [sys.executable, "-c", code],
        input=repr(texts).encode("utf-8"),
        env=os.environ | {"PYTHONHASHSEED": "1", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        check=True,
    ).stdout.decode()
    # KerasNLP may print a line of its own before.
    assert output.endswith("|".join(train_vocabulary(texts, 60, True)))


def test_impossible_vocabularies():
    for texts in ([], ["", " \n"]):
        with pytest.raises(UserError, match="no word in the texts"):
            train_vocabulary(texts, 100, lowercase=True)
    with pytest.raises(UserError, match="--vocabulary_size=5"):
        train_vocabulary(["good"], 5, lowercase=True)


@pytest.mark.corpora
def test_chinese_characters_get_rows(shared_corpora):
    lines = (shared_corpora / "zh_waimai_10k" / "waimai_10k.csv").read_text("utf-8").splitlines()
    texts = [line.partition(",")[2] for line in lines[1:]]
    vocabulary = train_vocabulary(texts, 4000, lowercase=True)
    tokenizer = Tokenizer(vocabulary, True, True)
    ids, _ = tokenizer.encode(texts, 128)
    assert np.mean(ids == tokenizer.unknown_id) < 0.005
    frequent = collections.Counter(c for text in texts for c in text if "一" <= c <= "鿿")
    assert {c for c, _ in frequent.most_common(1500)} <= set(vocabulary)
