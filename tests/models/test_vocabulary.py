"""Vocabularies: read from files, and learned from texts of any script."""

import collections
import random

import numpy as np
import pytest

from tff_nlp.errors import UserError
from tff_nlp.models import vocabulary as vocabularies
from tff_nlp.models.tokenizer import Tokenizer
from tff_nlp.models.vocabulary import SPECIAL_TOKENS, load_vocabulary, train_vocabulary
from tff_nlp.models.words import UNICODE, WordRules

WORDS = (*SPECIAL_TOKENS, "good", "film", "un", "##watch", "##able", "!", "cafe", "好", "吃")
RULES = WordRules(lowercase=True, strip_accents=False, style=UNICODE)
CASED = WordRules(lowercase=False, strip_accents=False, style=UNICODE)


def test_vocabulary_files(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_bytes("\r\n".join(WORDS).encode())
    assert load_vocabulary(path) == WORDS
    path.write_text("\n".join([*WORDS, "good"]) + "\n")
    with pytest.raises(UserError, match="vocab.txt: 'good' is on lines 6 and 15"):
        load_vocabulary(path)
    path.write_text("\n".join(w for w in WORDS if w != "[CLS]"))
    with pytest.raises(UserError, match=r"lacks \[CLS\]"):
        load_vocabulary(path)
    path.write_bytes(b"good\n\xff\n")
    with pytest.raises(UserError, match="byte 5 is not UTF-8"):
        load_vocabulary(path)
    with pytest.raises(UserError, match="none.txt is missing"):
        load_vocabulary(tmp_path / "none.txt")


def test_trained_vocabulary(texts):
    vocabulary = train_vocabulary(texts, 120, RULES)
    assert vocabulary[:5] == SPECIAL_TOKENS
    assert len(set(vocabulary)) == len(vocabulary) <= 120
    assert {"good", "bad", "吃"} <= set(vocabulary)
    tokenizer = Tokenizer(vocabulary, RULES)
    ids, _ = tokenizer.encode(texts, 64)
    assert tokenizer.unknown_id not in ids
    assert not any(piece != piece.lower() for piece in vocabulary[5:])
    cased = train_vocabulary(texts, 120, CASED)
    assert any(piece != piece.lower() for piece in cased[5:])


@pytest.mark.parametrize("size", [6, 8, 20, 50])
def test_the_vocabulary_size_is_not_exceeded(texts, size):
    assert len(train_vocabulary(texts, size, RULES)) <= size


def test_vocabulary_does_not_depend_on_the_process(texts):
    """Python hashes strings with a different seed in each process, which changes set orders."""
    assert "|".join(train_vocabulary(texts, 60, RULES)) == (
        "[PAD]|[UNK]|[CLS]|[SEP]|[MASK]|下|再|卖|吃|外|好|很|来|次|a|o|t|e|d|h|n|b|g|i|p|"
        "##a|##o|##t|##e|##d|##h|##n|##b|##g|##i|##p|th|ba|##at|##oo|##ot|the|bad|##ood|good|"
        "an|ag|on|ha|ne|not|##ai|##to|##ie|##pi|##ppi|and|agai|happi|again"
    )


def test_impossible_vocabularies():
    for texts in ([], ["", " \n"]):
        with pytest.raises(UserError, match="no word in the texts"):
            train_vocabulary(texts, 100, RULES)
    with pytest.raises(UserError, match="vocabulary_size=5"):
        train_vocabulary(["good"], 5, RULES)


@pytest.mark.corpora
def test_chinese_characters_get_rows(shared_corpora):
    lines = (shared_corpora / "zh_waimai_10k" / "waimai_10k.csv").read_text("utf-8").splitlines()
    texts = [line.partition(",")[2] for line in lines[1:]]
    vocabulary = train_vocabulary(texts, 4000, RULES)
    tokenizer = Tokenizer(vocabulary, RULES)
    ids, _ = tokenizer.encode(texts, 128)
    assert np.mean(ids == tokenizer.unknown_id) < 0.005
    frequent = collections.Counter(c for text in texts for c in text if "一" <= c <= "鿿")
    assert {c for c, _ in frequent.most_common(1500)} <= set(vocabulary)


def merged_one_at_a_time(words, pieces):
    """Byte-pair encoding as in its paper: one pair at a time, with new counts for each merge."""
    split = {word: (word[0], *(f"##{c}" for c in word[1:])) for word, _ in words}
    found = []
    while len(found) < pieces:
        counts = collections.Counter()
        for word, count in words:
            for pair in zip(split[word], split[word][1:], strict=False):
                counts[pair] += count
        if not counts or max(counts.values()) < 2:
            break
        best = max(counts.values())
        assert list(counts.values()).count(best) == 1, "a tie would make the test arbitrary"
        pair = next(pair for pair, count in counts.items() if count == best)
        merged = pair[0] + pair[1].removeprefix("##")
        found.append(merged)
        for word, parts in split.items():
            joined = []
            for part in parts:
                if joined and (joined[-1], part) == pair:
                    joined[-1] = merged
                else:
                    joined.append(part)
            split[word] = tuple(joined)
    return found


def test_pieces_are_those_of_byte_pair_encoding():
    words = [("ab", 1000), ("abz", 400), ("xy", 150), ("xyw", 60), ("qx", 25), ("r", 3)]
    texts = [" ".join([word] * count) for word, count in words]
    learned = train_vocabulary(texts, 200, RULES)
    expected = merged_one_at_a_time(words, 200)
    assert set(learned) >= set(expected)
    assert {piece for piece in learned if len(piece.removeprefix("##")) > 1} - set(
        SPECIAL_TOKENS
    ) == set(expected)


def thai_texts(rows):
    """Returns texts of invented syllables without blanks between words."""
    generator = random.Random(3)
    consonants, vowels, tones = "กขคงจชดตทนบปพฟมยรลวสห", "าิีึืุู", ["", "่", "้"]
    words = [
        "".join(
            generator.choice(consonants) + generator.choice(vowels) + generator.choice(tones)
            for _ in range(generator.choice([1, 2, 3]))
        )
        for _ in range(300)
    ]
    return ["".join(generator.choices(words, k=25)) for _ in range(rows)]


def test_a_script_without_blanks():
    """A text is one word of a hundred characters. No word is left out or unknown."""
    texts = thai_texts(300)
    tokenizer = Tokenizer(train_vocabulary(texts, 1000, RULES), RULES)
    ids, _ = tokenizer.encode(texts, 256)
    assert tokenizer.unknown_id not in ids
    assert len(ids) < 0.6 * sum(map(len, texts))


def test_learning_passes_over_the_texts_a_bounded_number_of_times(monkeypatch):
    """So the time is proportional to the texts. The test counts the symbols that merges read."""
    seen = []
    merge = vocabularies._Symbols.merge

    def counted(self, most):
        seen[-1] += len(self._symbols)
        return merge(self, most)

    monkeypatch.setattr(vocabularies._Symbols, "merge", counted)
    for rows in (200, 400):
        seen.append(0)
        train_vocabulary(thai_texts(rows), 500, RULES)
    assert seen[1] < 2.5 * seen[0]


def test_rare_characters_and_long_repetitions(monkeypatch):
    texts = ["aaaaaaaaa aaaa", *(f"word{chr(0x400 + n)}" for n in range(100))]
    vocabulary = train_vocabulary(texts, 60, RULES)
    assert len(vocabulary) <= 60
    assert {"a", "##a"} <= set(vocabulary)
    monkeypatch.setattr(vocabularies, "_MOST_CHARACTERS", 10)
    assert "aaaa" not in train_vocabulary(["b" * 30, "aaaa"], 60, RULES)
