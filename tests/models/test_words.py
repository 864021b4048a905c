"""Splitting texts into words: which characters are kept, and which are removed."""

import unicodedata

import pytest
import tensorflow as tf

from tff_nlp.models import words
from tff_nlp.models.words import UNICODE, WordRules

OWN = WordRules(lowercase=True, strip_accents=False, style=UNICODE)


def split(text, rules=OWN):
    found = words.split_words(tf.constant([text.encode("utf-8", "replace")]), rules)
    return [word.decode() for word in found.flat_values.numpy()]


# Pairs of different words that differ in one mark.
PAIRS = [
    ("Thai", "\u0e14\u0e35", "\u0e14\u0e39"),
    ("Lao", "\u0e94\u0eb5", "\u0e94\u0eb9"),
    ("Hindi", "\u0915\u093f", "\u0915\u0940"),
    ("Tamil", "\u0b95\u0bc1", "\u0b95\u0bc2"),
    ("Burmese", "\u1000\u102d", "\u1000\u102f"),
    ("Khmer", "\u1780\u17b7", "\u1780\u17bb"),
    ("Sinhala", "\u0d9a\u0dd2", "\u0d9a\u0dd4"),
    ("Tibetan", "\u0f40\u0f72", "\u0f40\u0f74"),
    ("Hebrew", "\u05d1\u05b7", "\u05d1\u05b4"),
    ("Arabic", "\u0643\u064e", "\u0643\u0650"),
    (
        "Persian",
        "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc",
        "\u0646\u0627\u0645\u0647\u0627\u06cc",
    ),
    ("Bengali", "\u09b0\u200d\u09cd\u09af", "\u09b0\u09cd\u09af"),
    ("Vietnamese", "m\u00e1", "m\u00e0"),
    ("Yoruba", "\u1ecdk\u1ecd\u0301", "\u1ecdk\u1ecd\u0300"),
    ("Japanese", "\u304b", "\u304c"),
    ("Korean", "\uac00", "\uac1c"),
    ("Russian", "\u0438", "\u0439"),
]


@pytest.mark.parametrize(("language", "one", "other"), PAIRS)
def test_meaningful_marks_are_kept(language, one, other):
    for rules in (OWN, WordRules(False, False, UNICODE)):
        assert split(one, rules) != split(other, rules), language
        assert split(one, rules) == [unicodedata.normalize("NFC", one)]


def test_accents_are_stripped_only_from_alphabets_with_accents():
    stripped = WordRules(True, True, UNICODE)
    assert split("Caf\u00e9 \u039a\u03b1\u03bb\u03ac \u0439", stripped) == [
        "cafe",
        "\u03ba\u03b1\u03bb\u03b1",
        "\u0438",
    ]
    for language, one, other in PAIRS[:12]:
        assert split(one, stripped) != split(other, stripped), language
    assert split("\ud55c\uad6d", stripped) == ["\ud55c\uad6d"]


@pytest.mark.parametrize("lowercase", [True, False])
def test_composed_and_decomposed_letters_are_the_same_word(lowercase):
    rules = WordRules(lowercase, False, UNICODE)
    assert split("\u00e9t\u00e9", rules) == split("e\u0301te\u0301", rules)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Stra\u00dfe STRASSE", ["stra\u00dfe", "strasse"]),
        ("soft\u00adware \ufeffx\u202ey", ["software", "xy"]),
        ("zero\u200bwidth\x85line\u2028end\x0bx\0y", ["zero", "width", "line", "end", "x", "y"]),
        (
            "nice\U0001f44d\U0001f3fd\U0001f44d!",
            ["nice", "\U0001f44d\U0001f3fd", "\U0001f44d", "!"],
        ),
        ("wait\u2026", ["wait", "\u2026"]),
        ("\u597d\u5403", ["\u597d", "\u5403"]),
        ("x" * 5000, ["x" * 5000]),
        ("", []),
    ],
)
def test_words_of_the_unicode_style(text, expected):
    assert split(text) == expected


def test_html_entities_are_decoded_when_asked():
    assert split("a &amp; b") == ["a", "&", "amp", ";", "b"]
    decoding = WordRules(True, False, UNICODE, decode_html_entities=True)
    assert split("A &amp; &Eacute;t\u0026eacute; &#128077;", decoding) == [
        "a",
        "&",
        "\u00e9t\u00e9",
        "\U0001f44d",
    ]


def test_bytes_that_are_not_utf8():
    found = words.split_words(tf.constant([b"caf\xe9 ok", b"cut \xe2\x82"]), OWN)
    assert [[w.decode() for w in row] for row in found.to_list()] == [
        ["caf", "?", "ok"],
        ["cut", "?"],
    ]
