"""Tokenization: ids, lengths and fingerprints."""

import dataclasses
import pickle

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_nlp import silence_libraries
from tff_nlp.errors import UserError
from tff_nlp.models.tokenizer import SPECIAL_TOKENS, Tokenizer
from tff_nlp.models.words import UNICODE, WordRules

WORDS = (*SPECIAL_TOKENS, "good", "film", "un", "##watch", "##able", "!", "cafe", "好", "吃")
TOKENIZER = Tokenizer(WORDS)


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
        ("good\0film", "good film"),
    ],
)
def test_pieces(text, expected):
    assert pieces(text) == ["[CLS]", *expected.split(), "[SEP]"]


def test_case_and_accents_are_kept_when_asked():
    cased = Tokenizer(WORDS, WordRules(lowercase=False, strip_accents=False))
    assert pieces("Good good café", tokenizer=cased)[1:-1] == ["[UNK]", "good", "[UNK]"]


def test_ids_and_fingerprint():
    assert (TOKENIZER.pad_id, TOKENIZER.unknown_id) == (0, 1)
    assert (TOKENIZER.cls_id, TOKENIZER.sep_id) == (2, 3)
    same = pickle.loads(pickle.dumps(TOKENIZER))
    assert same == TOKENIZER
    assert same.fingerprint == TOKENIZER.fingerprint
    changes = [
        {"lowercase": False},
        {"strip_accents": False},
        {"style": UNICODE},
        {"split_chinese": False},
        {"decode_html_entities": True},
    ]
    others = [
        *(Tokenizer(WORDS, dataclasses.replace(TOKENIZER.rules, **change)) for change in changes),
        Tokenizer((*WORDS, "x")),
        Tokenizer((*WORDS[:-2], WORDS[-1], WORDS[-2])),
    ]
    assert len({TOKENIZER.fingerprint, *(t.fingerprint for t in others)}) == 8


def test_truncation_and_dtypes():
    ids, lengths = TOKENIZER.encode(["good " * 50, "good", ""], 8)
    assert ids.dtype == lengths.dtype == np.int32
    assert lengths.tolist() == [8, 3, 2]
    assert ids[[0, 7]].tolist() == [TOKENIZER.cls_id, TOKENIZER.sep_id]
    assert TOKENIZER.encode(["good"], 2)[0].tolist() == [2, 3]
    empty = TOKENIZER.encode([], 8)
    assert [part.shape for part in empty] == [(0,), (0,)]
    with pytest.raises(UserError, match="max_tokens=1"):
        TOKENIZER.encode(["good"], 1)


def test_many_texts_equal_each_alone():
    """There are more texts than fit into one call of the tokenizer."""
    texts = [f"good {'film ' * (i % 7)}!" for i in range(5000)]
    ids, lengths = TOKENIZER.encode(texts, 6)
    starts = np.cumsum(lengths) - lengths
    for row in (0, 4095, 4096, 4999):
        alone = TOKENIZER.encode([texts[row]], 6)[0]
        assert ids[starts[row] : starts[row] + lengths[row]].tolist() == alone.tolist()


@pytest.mark.thorough
@settings(max_examples=40)
@given(st.lists(st.text(max_size=30), max_size=4), st.integers(2, 12))
def test_any_text_encodes(texts, max_tokens):
    ids, lengths = TOKENIZER.encode(texts, max_tokens)
    assert lengths.sum() == len(ids)
    assert ((lengths >= 2) & (lengths <= max_tokens)).all()
    ends = np.cumsum(lengths) - 1
    assert (ids[ends] == TOKENIZER.sep_id).all()
    assert (ids == TOKENIZER.cls_id).sum() == len(texts)


def test_whole_lengths():
    texts = ["good " * 50, "good", "", "x" * 5000]
    assert TOKENIZER.whole_lengths(texts).tolist() == [52, 3, 2, 3]
    assert TOKENIZER.whole_lengths([]).shape == (0,)


PAIRS = [
    ("good film", "unwatchable!"),
    ("good " * 20, "film"),
    ("film", "good " * 20),
    ("good " * 9, "film " * 8),
    ("[SEP] good", "film [SEP]"),
    ("", "good"),
    ("", ""),
]


def padded(pairs, max_tokens):
    first, second = zip(*pairs, strict=True)
    flat, lengths = TOKENIZER.encode(first, max_tokens, second)
    return tf.RaggedTensor.from_row_lengths(flat, lengths).to_tensor(TOKENIZER.pad_id)


@pytest.mark.parametrize("max_tokens", [3, 4, 5, 8, 13, 64])
def test_pairs_equal_kerasnlp(max_tokens):
    silence_libraries.import_keras_nlp()
    import keras_nlp

    theirs = keras_nlp.models.BertPreprocessor(
        keras_nlp.models.BertTokenizer(vocabulary=list(WORDS), lowercase=True),
        sequence_length=max_tokens,
    )
    found = theirs(tuple(map(tf.constant, zip(*PAIRS, strict=True))))
    ids = padded(PAIRS, max_tokens)
    rest = [[0, 0], [0, max_tokens - ids.shape[1]]]  # KerasNLP pads all batches to one length.
    np.testing.assert_array_equal(tf.pad(ids, rest), found["token_ids"])
    np.testing.assert_array_equal(tf.pad(TOKENIZER.segment_ids(ids), rest), found["segment_ids"])


@pytest.mark.parametrize("max_tokens", [3, 4, 5, 8, 12])
def test_the_longer_text_is_cut_first(max_tokens):
    sizes = [(first, second) for first in range(9) for second in range(9)]
    first, second = zip(*(("good " * one, "film " * other) for one, other in sizes), strict=True)
    ids, lengths = TOKENIZER.encode(first, max_tokens, second)
    good, film = WORDS.index("good"), WORDS.index("film")
    for found, (one, other) in zip(np.split(ids, np.cumsum(lengths)[:-1]), sizes, strict=True):
        while one + other + 3 > max_tokens:
            if one > other:
                one -= 1
            else:
                other -= 1
        assert found.tolist() == [2, *one * [good], 3, *other * [film], 3]


def test_segments_of_single_texts_are_zero():
    assert not TOKENIZER.segment_ids(np.array([[2, 5, 6, 3], [2, 5, 3, 0]], np.int32)).numpy().any()


def test_pairs_have_lengths_and_a_minimum_size():
    first, second = ["good " * 50, "good", ""], ["film", "", "x" * 5000]
    assert TOKENIZER.whole_lengths(first, second).tolist() == [54, 4, 4]
    assert [part.shape for part in TOKENIZER.encode([], 8, [])] == [(0,), (0,)]
    with pytest.raises(UserError, match=r"max_tokens=2: \[CLS\] and two \[SEP\] alone are 3"):
        TOKENIZER.encode(["good"], 2, ["film"])


def test_a_vocabulary_without_special_tokens():
    with pytest.raises(UserError, match="lacks the special tokens"):
        Tokenizer(("good",))
