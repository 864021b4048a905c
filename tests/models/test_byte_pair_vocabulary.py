"""Byte-pair vocabularies are learned reproducibly. Damaged files give an error of one line."""

import json

import pytest

from tff_nlp.errors import UserError
from tff_nlp.models import byte_pair_vocabulary
from tff_nlp.models.byte_pair_vocabulary import BYTE_CHARACTERS, END_OF_TEXT

VOCABULARY = {
    token: number for number, token in enumerate([END_OF_TEXT, *BYTE_CHARACTERS, "ab", "Ġab"])
}
MERGES = ["a b", "Ġ ab"]


@pytest.fixture
def write_files(tmp_path):
    def write(vocabulary=VOCABULARY, merges="#version: 0.2\na b\nĠ ab\n"):
        (tmp_path / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
        (tmp_path / "merges.txt").write_text(merges, encoding="utf-8")
        return tmp_path

    return write


def test_bytes_are_spelled_as_gpt2_does():
    """The first and last rows of GPT-2's own vocab.json."""
    assert len(set(BYTE_CHARACTERS)) == 256
    assert BYTE_CHARACTERS[ord(" ")] == "Ġ"
    assert BYTE_CHARACTERS[ord("\n")] == "Ċ"
    assert BYTE_CHARACTERS[0] == "Ā"
    assert BYTE_CHARACTERS[0xAD] == "Ń"
    assert BYTE_CHARACTERS[ord("!")] == "!"
    assert all(character.isprintable() for character in BYTE_CHARACTERS)
    assert byte_pair_vocabulary.bytes_of("ĠCafÃ©") == " Café".encode()
    assert byte_pair_vocabulary.bytes_of(END_OF_TEXT) == b""


def test_training_merges_the_most_frequent_pairs():
    """By hand: "l o" and "o w" occur 7 times each, then "lo w" occurs 7 times, and so on."""
    texts = ["low low low low low lower lower"]
    tokens, merges = byte_pair_vocabulary.train_byte_pairs(texts, 261)
    assert tokens[0] == END_OF_TEXT
    assert set(tokens[1:257]) == set(BYTE_CHARACTERS)
    assert merges[:3] == (("l", "o"), ("lo", "w"), ("Ġ", "low"))
    assert tokens[257:260] == ("lo", "low", "Ġlow")
    assert len(tokens) == 261


def test_training_stops_if_no_pair_is_frequent():
    tokens, merges = byte_pair_vocabulary.train_byte_pairs(["abcabd", ""], 400)
    assert merges == (("a", "b"),)
    assert len(tokens) == 258
    assert byte_pair_vocabulary.train_byte_pairs([], 400)[1] == ()


def test_the_same_texts_give_the_same_vocabulary(texts):
    texts = [*texts, "\ud800 lone", "สวัสดีครับ " * 4]
    first = byte_pair_vocabulary.train_byte_pairs(texts, 400)
    for _ in range(3):
        assert byte_pair_vocabulary.train_byte_pairs(texts, 400) == first


def test_training_needs_a_row_for_each_byte():
    with pytest.raises(UserError, match="vocabulary_size=256: at least 257 rows"):
        byte_pair_vocabulary.train_byte_pairs(["text"], 256)
    assert len(byte_pair_vocabulary.train_byte_pairs(["text text"], 257)[0]) == 257


def test_files_are_read(write_files):
    tokens, merges = byte_pair_vocabulary.read_byte_pairs(write_files(), "encoder=x")
    assert tokens == tuple(VOCABULARY)
    assert merges == (("a", "b"), ("Ġ", "ab"))
    windows = write_files(merges="a b\r\nĠ ab\r\n")
    assert byte_pair_vocabulary.read_byte_pairs(windows, "encoder=x")[1] == merges


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"vocabulary": ["a"]}, "vocab.json is not a JSON object of tokens and their ids"),
        ({"vocabulary": VOCABULARY | {"x": "1"}}, "not a JSON object of tokens"),
        ({"vocabulary": VOCABULARY | {"aba": 300}}, "ids in vocab.json are not 0 to 259"),
        ({"vocabulary": VOCABULARY | {"aba": 3}}, "ids in vocab.json are not 0 to 259"),
        ({"vocabulary": {"a": 0}}, r"lacks the token '<\|endoftext\|>'"),
        ({"vocabulary": VOCABULARY | {"a b": 259}}, "has 'a b', which stands for no bytes"),
        ({"merges": "#version: 0.2\na b\nb c\n"}, "merges.txt, line 3: 'b c' needs 'bc', which"),
        ({"merges": "a b\n\na b\n"}, "merges.txt, line 2: '' needs '', which is not a token"),
        ({"merges": "a b\na b\n"}, "merges.txt, line 2: 'a b' is also on line 1"),
        ({"merges": "ab\n"}, "merges.txt, line 1: 'ab' needs ''"),
    ],
)
def test_files_that_do_not_fit(write_files, files, message):
    with pytest.raises(UserError, match=message) as error:
        byte_pair_vocabulary.read_byte_pairs(write_files(**files), "encoder=x")
    assert str(error.value).startswith("encoder=x: ")
    assert "\n" not in str(error.value)


def test_vocabularies_that_lack_bytes():
    vocabulary = {END_OF_TEXT: 0, byte_pair_vocabulary.SUBSTITUTE: 1, "a": 2}
    check = byte_pair_vocabulary.check_byte_pairs
    assert check(vocabulary, [], "--x", needs_all_bytes=False)[0] == tuple(vocabulary)
    with pytest.raises(UserError, match="lacks the token"):
        check(vocabulary, [], "--x")
    with pytest.raises(UserError, match="--x: the vocabulary lacks the token 'Ě'"):
        check({END_OF_TEXT: 0}, [], "--x", places=("the vocabulary", ""), needs_all_bytes=False)
    assert byte_pair_vocabulary.bytes_of(byte_pair_vocabulary.SUBSTITUTE) == b"\x1a"


def test_missing_and_damaged_files(write_files):
    folder = write_files()
    (folder / "merges.txt").write_bytes(b"\xff")
    with pytest.raises(UserError, match="merges.txt: byte 0 is not UTF-8"):
        byte_pair_vocabulary.read_byte_pairs(folder, "encoder=x")
    (folder / "merges.txt").unlink()
    with pytest.raises(UserError, match="merges.txt is missing in"):
        byte_pair_vocabulary.read_byte_pairs(folder, "encoder=x")
    for content in ("{", "[" * 100_000):
        (folder / "vocab.json").write_text(content)
        with pytest.raises(UserError, match="vocab.json is damaged"):
            byte_pair_vocabulary.read_byte_pairs(folder, "encoder=x")
