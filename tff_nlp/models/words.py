"""Splits texts into words, with rules for case, accents and special characters.

Training, prediction and the exported model all run this TensorFlow code, so that they read a text
in the same way.
"""

import dataclasses

import tensorflow as tf

from tff_nlp.models import html_entities

# BERT: like the original code of the published checkpoints (Devlin et al. 2019) and Hugging Face's
# BertTokenizer. UNICODE: for a vocabulary that is learned from the corpus, in any script.
BERT, UNICODE = STYLES = ("bert", "unicode")

_PUNCTUATION = r"[!-/:-@\[-`{-~]|\p{P}"
_CHINESE = (
    r"[\x{4E00}-\x{9FFF}\x{3400}-\x{4DBF}\x{20000}-\x{2A6DF}\x{2A700}-\x{2B73F}"
    r"\x{2B740}-\x{2B81F}\x{2B820}-\x{2CEAF}\x{F900}-\x{FAFF}\x{2F800}-\x{2FA1F}]"
)
# An emoji with its modifiers: variation selectors, skin tones, joiners, tags of flags.
_SYMBOL = r"\p{So}[\p{Mn}\p{Sk}\x{200D}\x{E0020}-\x{E007F}]*"
# Invisible characters without meaning: soft hyphens, byte order marks, writing directions.
INVISIBLE = (
    r"[\x{AD}\x{61C}\x{180E}\x{200E}\x{200F}\x{202A}-\x{202E}\x{2060}-\x{2064}"
    r"\x{2066}-\x{206F}\x{FEFF}\x{FFF9}-\x{FFFB}]"
)
BLANKS = r"[\s\p{Z}]+"
# What the "unicode" style reads as a blank: line ends of all kinds, and the word separator (U+200B)
# of scripts without blanks. And its accents.
UNICODE_BLANKS = r"[\p{Cc}\x{200B}]"
UNICODE_ACCENTS = r"[\x{300}-\x{36F}]"
# A character that is in no word, so it is in no vocabulary.
_NO_WORD = "\x01"
# BERT's code treats longer words as unknown.
_MAX_BERT_WORD = 100
_NO_MAXIMUM = 2**30


@dataclasses.dataclass(frozen=True)
class WordRules:
    """Rules for splitting texts into words.

    Both styles split at blanks and around punctuation marks, and read a NUL character as a blank.
    The "bert" style drops other control characters, treats all combining marks as accents, and
    treats words of more than 100 characters as unknown. The "unicode" style composes characters
    (NFC), keeps the joiners that some scripts need (U+200C, U+200D), treats only the diacritical
    marks of Latin, Greek and Cyrillic letters as accents, and splits around symbols such as emoji.
    It does not limit the length of words, because in Thai a whole sentence is one word.

    Attributes:
      lowercase: Whether capital letters become small letters.
      strip_accents: Whether accents are removed.
      style: One of `STYLES`.
      split_chinese: Whether every Chinese character is a separate word.
      decode_html_entities: Whether HTML entities such as "&amp;" are decoded.
    """

    lowercase: bool
    strip_accents: bool
    style: str = BERT
    split_chinese: bool = True
    decode_html_entities: bool = False

    def describe(self) -> str:
        """Returns a short description of the rules for case, accents and entities."""
        said = [
            "lower-cased" if self.lowercase else "case kept",
            "accents stripped" if self.strip_accents else "accents kept",
        ]
        if self.decode_html_entities:
            said.append("HTML entities decoded")
        return ", ".join(said)


# The rules of most published checkpoints.
UNCASED = WordRules(lowercase=True, strip_accents=True)


def split_words(texts: tf.Tensor, rules: WordRules) -> tf.RaggedTensor:
    """Splits texts into words.

    Args:
      texts: string[batch]. Invalid UTF-8 becomes question marks.
      rules: The rules.

    Returns:
      Ragged string[batch, (words)].
    """
    import tensorflow_text as tf_text

    texts = _readable(texts)
    if rules.decode_html_entities:
        texts = html_entities.decode(texts)
    texts = _normalized(texts, rules)
    keep = kept_delimiters(rules)
    words = tf_text.regex_split(texts, f"{BLANKS}|{keep}", keep)
    if rules.style == BERT:
        too_long = tf.strings.length(words.flat_values, "UTF8_CHAR") > _MAX_BERT_WORD
        words = words.with_flat_values(tf.where(too_long, _NO_WORD, words.flat_values))
    return words


def kept_delimiters(rules: WordRules) -> str:
    """Returns the pattern of what is a word by itself: punctuation, Chinese characters, symbols."""
    keep = _PUNCTUATION
    if rules.split_chinese:
        keep = f"{keep}|{_CHINESE}"
    if rules.style == UNICODE:
        keep = f"{keep}|{_SYMBOL}"
    return keep


def longest_word(rules: WordRules) -> int:
    """Returns the largest number of characters of a word that is not unknown."""
    return _MAX_BERT_WORD if rules.style == BERT else _NO_MAXIMUM


def _readable(texts: tf.Tensor) -> tf.Tensor:
    """Returns valid UTF-8 without NUL, because several TensorFlow operations end a text at NUL."""
    texts = tf.strings.unicode_transcode(
        texts, "UTF-8", "UTF-8", errors="replace", replacement_char=ord("?")
    )
    return tf.strings.regex_replace(texts, r"\x{0}", " ")


def _normalized(texts: tf.Tensor, rules: WordRules) -> tf.Tensor:
    import tensorflow_text as tf_text

    if rules.style == BERT:
        # All control characters except tab, line feed and carriage return.
        odd = r"[\x{1}-\x{8}\x{B}\x{C}\x{E}-\x{1F}\x{7F}-\x{9F}\x{FFFD}\p{Cf}\p{Co}]"
        texts = tf.strings.regex_replace(texts, odd, "")
        # Do this before marks are removed, because some Chinese characters decompose into others.
        if rules.split_chinese:
            texts = tf.strings.regex_replace(texts, _CHINESE, r" \0 ")
        if rules.strip_accents:
            texts = tf_text.normalize_utf8(texts, "NFD")
            texts = tf.strings.regex_replace(texts, r"\p{Mn}", "")
    else:
        texts = tf.strings.regex_replace(texts, UNICODE_BLANKS, " ")
        texts = tf.strings.regex_replace(texts, INVISIBLE, "")
        if rules.strip_accents:
            texts = tf_text.normalize_utf8(texts, "NFD")
            texts = tf.strings.regex_replace(texts, UNICODE_ACCENTS, "")
        texts = tf_text.normalize_utf8(texts, "NFC")
    if rules.lowercase:
        texts = tf.strings.lower(texts, encoding="utf-8")
    return texts
