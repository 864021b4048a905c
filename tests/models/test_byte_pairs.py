"""Byte-pair ids equal those of GPT-2, also in a graph, and can be decoded to the texts."""

import pickle

import numpy as np
import pytest
import regex
import tensorflow as tf
import tokenizers

from tests.models.merges import merge_by_hand
from tests.models.odd_texts import ODD_TEXTS
from tff_nlp.errors import UserError
from tff_nlp.models import byte_pairs
from tff_nlp.models.byte_pairs import BytePairTokenizer

CLEAN = [text.encode("utf-8", "replace").decode() for text in ODD_TEXTS]
# The pattern of GPT-2's released code.
PATTERN = regex.compile(
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
)


@pytest.fixture(scope="module")
def tokenizer():
    return BytePairTokenizer.train([*ODD_TEXTS, *ODD_TEXTS], 420)


def test_words_match_the_pattern_of_gpt2():
    words = byte_pairs.split_words(tf.constant([text.encode() for text in CLEAN]))
    for text, found in zip(CLEAN, words.to_list(), strict=True):
        assert [word.decode() for word in found if word] == PATTERN.findall(text), repr(text)


def test_words_of_random_characters():
    """The texts mix all kinds of characters in random order."""
    generator = np.random.default_rng(0)
    kinds = np.array([*" \n\t\x00\x01\x02\x03'stlm1a.", "\xa0", "\u3000", "é", "外", "👍", "६"])
    texts = ["".join(generator.choice(kinds, 30)) for _ in range(300)]
    words = byte_pairs.split_words(tf.constant([text.encode() for text in texts]))
    for text, found in zip(texts, words.to_list(), strict=True):
        assert [word.decode() for word in found if word] == PATTERN.findall(text), repr(text)


def test_ids_equal_those_of_hugging_face(tokenizer):
    ids = {token: number for number, token in enumerate(tokenizer.vocabulary)}
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE(ids, list(tokenizer.merges)))
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    found = tokenizer.pieces(tf.constant([text.encode() for text in CLEAN])).to_list()
    for text, row in zip(CLEAN, found, strict=True):
        assert row == theirs.encode(text).ids, repr(text)
    assert max(map(len, found)) > 30


def texts_with_digits():
    """Texts of all kinds of characters in random order, and odd texts, with many digits."""
    generator = np.random.default_rng(1)
    kinds = np.array([*"0129 \n\t\x00\x01'slm.", "\xa0", "\u3000", "६", "Ⅷ", "½", "外", "👍"])
    return [*CLEAN, "a  12 b 3", *("".join(generator.choice(kinds, 20)) for _ in range(200))]


def test_each_digit_is_a_word():
    """The pattern is applied between digits, so a blank before a digit is a word of its own."""
    texts = texts_with_digits()
    words = byte_pairs.split_words(
        tf.constant([text.encode() for text in texts]), splits_digits=True
    )
    for text, found in zip(texts, words.to_list(), strict=True):
        parts = regex.split(r"(\p{N})", text)
        expected = [word for part in parts for word in PATTERN.findall(part)]
        assert [word.decode() for word in found if word] == expected, repr(text)


def test_ids_with_digits_equal_those_of_hugging_face(tokenizer):
    """The two steps of SmolLM2's tokenizer.json."""
    ours = BytePairTokenizer(tokenizer.vocabulary, tokenizer.merges, splits_digits=True)
    ids = {token: number for number, token in enumerate(ours.vocabulary)}
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE(ids, list(ours.merges)))
    steps = tokenizers.pre_tokenizers
    theirs.pre_tokenizer = steps.Sequence(
        [steps.Digits(individual_digits=True), steps.ByteLevel(add_prefix_space=False)]
    )
    texts = texts_with_digits()
    found = ours.pieces(tf.constant([text.encode() for text in texts])).to_list()
    for text, row in zip(texts, found, strict=True):
        assert row == theirs.encode(text).ids, repr(text)
    assert pickle.loads(pickle.dumps(ours)) == ours
    assert ours.fingerprint != tokenizer.fingerprint


def test_bytes_that_are_not_tokens():
    """The substitute character takes their place."""
    tokens = ("<|endoftext|>", *(c for c in byte_pairs.BYTE_CHARACTERS if c not in "ĀÿÀ"))
    tokenizer = BytePairTokenizer(tokens, ())
    ids, lengths = tokenizer.encode(["a\x00b", "\x00"], 10)
    assert lengths.tolist() == [5, 3]
    assert tokenizer.decode(ids) == "a\x1ab\x1a"


@pytest.mark.parametrize("word", ["a", "aa", "aaa", "aaaaaaa", "aabaaab", "baaaaab"])
def test_overlapping_pairs(word):
    tokens = ("<|endoftext|>", *byte_pairs.BYTE_CHARACTERS, "aa", "aab", "aaaa")
    tokenizer = BytePairTokenizer(tokens, (("a", "a"), ("aa", "b"), ("aa", "aa")))
    ranks = {pair: rank for rank, pair in enumerate(tokenizer.merges)}
    found = tokenizer.pieces(tf.constant([word])).to_list()[0]
    assert [tokens[number] for number in found] == merge_by_hand(ranks, word)


def test_texts_have_end_tokens(tokenizer):
    ids, lengths = tokenizer.encode(["", "low"], 50)
    assert ids[0] == ids[1] == ids[2] == ids[-1] == tokenizer.end_id
    assert lengths.tolist() == [2, len(ids) - 2]
    assert ids.dtype == lengths.dtype == np.int32
    # A text that is cut has no end token.
    cut, lengths = tokenizer.encode(["low low low"], 3)
    assert lengths.tolist() == [3]
    assert (cut == tokenizer.end_id).tolist() == [True, False, False]
    assert tokenizer.encode([], 5)[0].shape == (0,)
    # The characters of the end token inside a text are ordinary characters.
    inside, _ = tokenizer.encode(["<|endoftext|>"], 50)
    assert (inside == tokenizer.end_id).sum() == 2
    with pytest.raises(UserError, match="max_tokens=1"):
        tokenizer.encode(["x"], 1)


def test_cutting_changes_nothing_before_the_cut(tokenizer):
    whole, lengths = tokenizer.encode(ODD_TEXTS, 10_000)
    rows = np.split(whole, np.cumsum(lengths)[:-1])
    np.testing.assert_array_equal(tokenizer.whole_lengths(ODD_TEXTS), lengths)
    for max_tokens in (2, 7):
        cut, _ = tokenizer.encode(ODD_TEXTS, max_tokens)
        np.testing.assert_array_equal(cut, np.concatenate([row[:max_tokens] for row in rows]))


def test_prompts_keep_their_last_tokens(tokenizer):
    whole = tokenizer.encode_prompts(tf.constant(["low low low", ""]), 100).to_list()
    assert whole[1] == [tokenizer.end_id]
    assert whole[0][0] == tokenizer.end_id
    for most in (2, tf.constant(2)):
        cut = tokenizer.encode_prompts(tf.constant(["low low low", ""]), most).to_list()
        assert cut == [whole[0][-2:], whole[1]]


def test_decoding_returns_the_texts(tokenizer):
    ids, lengths = tokenizer.encode(ODD_TEXTS, 10_000)
    rows = tf.RaggedTensor.from_row_lengths(ids, lengths)
    decoded = [text.decode() for text in tokenizer.decode_tensor(rows).numpy()]
    assert decoded == CLEAN
    assert [tokenizer.decode(row) for row in rows.to_list()] == CLEAN
    padding = tf.constant([[tokenizer.pad_id, tokenizer.end_id]])
    assert tokenizer.decode_tensor(padding).numpy().tolist() == [b""]
    assert tokenizer.decode([]) == ""


def test_both_decoders_agree_on_cut_characters(tokenizer):
    """Both give U+FFFD for each maximal part of a character (Unicode standard, section 3.9)."""
    spelled = [tokenizer.vocabulary.index(c) for c in byte_pairs.BYTE_CHARACTERS]
    for data in ("👍外é".encode()[2:-1], b"\xf0\x9f\x91", b"a\xe5\xa4z", b"\xff\xfe\xed\xa0\x80b"):
        ids = [spelled[byte] for byte in data]
        expected = data.decode("utf-8", "replace")
        assert tokenizer.decode(ids) == expected
        found = tokenizer.decode_tensor(tf.constant([ids])).numpy()[0].decode()
        assert found == expected


def test_bytes_that_are_not_utf8(tokenizer):
    found = tokenizer.pieces(tf.constant([b"a\xff b"])).to_list()
    assert found == tokenizer.pieces(tf.constant(["a\ufffd b"])).to_list()


@pytest.mark.thorough
def test_a_graph_gives_the_same_ids(tokenizer, tmp_path):
    """A program without this package runs the exported operations."""
    module = tf.Module()
    module.encode = tf.function(
        lambda texts: tokenizer.encode_tensor(texts, 40).to_tensor(tokenizer.pad_id),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    tf.saved_model.save(module, str(tmp_path))
    texts = tf.constant([text.encode() for text in CLEAN])
    expected = tokenizer.encode_tensor(texts, 40).to_tensor(tokenizer.pad_id)
    loaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_array_equal(loaded.encode(texts), expected)
    assert loaded.encode(tf.constant([], tf.string)).shape[0] == 0


def test_fingerprint_follows_vocabulary_and_merges(tokenizer):
    again = pickle.loads(pickle.dumps(tokenizer))
    assert again.fingerprint == tokenizer.fingerprint
    swapped = (tokenizer.merges[1], tokenizer.merges[0], *tokenizer.merges[2:])
    assert BytePairTokenizer(tokenizer.vocabulary, swapped).fingerprint != tokenizer.fingerprint
    assert tokenizer.pad_id == len(tokenizer.vocabulary)
