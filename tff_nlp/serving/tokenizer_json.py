"""Describes a tokenizer as tokenizer.json, which the library `tokenizers` loads.

The result gives the same ids as `models.tokenizer.Tokenizer`, except that it does not decode HTML
entities and knows no prefix.
"""

from typing import Any

from tff_nlp.models import words
from tff_nlp.models.tokenizer import Tokenizer
from tff_nlp.models.vocabulary import CLS, JOINER, PAD, SEP, SPECIAL_TOKENS, UNKNOWN

FILE = "tokenizer.json"


def describe(tokenizer: Tokenizer, max_tokens: int, *, knows_special: bool = False) -> Any:
    """Returns the content of tokenizer.json, for single texts and for pairs.

    Args:
      tokenizer: The tokenizer.
      max_tokens: Maximum number of tokens, including [CLS] and [SEP].
      knows_special: Whether a special token that stands in a text, such as "[SEP]", is that token.
        This package never reads texts so; transformers asks for it.
    """
    special = {token: tokenizer.vocabulary.index(token) for token in SPECIAL_TOKENS}
    added = [
        {
            "id": number,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for token, number in sorted(special.items(), key=lambda item: item[1])
    ]
    return {
        "version": "1.0",
        "truncation": {
            "direction": "Right",
            "max_length": max_tokens,
            "strategy": "LongestFirst",
            "stride": 0,
        },
        "padding": {
            "strategy": "BatchLongest",
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": special[PAD],
            "pad_type_id": 0,
            "pad_token": PAD,
        },
        "added_tokens": added if knows_special else [],
        "normalizer": _normalizer(tokenizer.rules),
        "pre_tokenizer": _splitter(tokenizer.rules),
        "post_processor": _template(special),
        "decoder": {"type": "WordPiece", "prefix": JOINER, "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": UNKNOWN,
            "continuing_subword_prefix": JOINER,
            "max_input_chars_per_word": words.longest_word(tokenizer.rules),
            "vocab": {piece: number for number, piece in enumerate(tokenizer.vocabulary)},
        },
    }


def left_out(tokenizer: Tokenizer, strip_prefix: str) -> list[str]:
    """Returns what a program must do to a text before tokenizer.json reads it, as sentences.

    Args:
      tokenizer: The tokenizer.
      strip_prefix: Prefix that is removed once from the start of each text.
    """
    found = []
    if strip_prefix:
        found.append(f"remove the prefix {strip_prefix!r} from each text that starts with it")
    if tokenizer.rules.decode_html_entities:
        found.append("decode HTML entities: text = html.unescape(text)")
    return found


def _normalizer(rules: words.WordRules) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [_replace("\x00", " ")]
    if rules.style == words.BERT:
        steps.append(
            {
                "type": "BertNormalizer",
                "clean_text": True,
                "handle_chinese_chars": rules.split_chinese,
                "strip_accents": rules.strip_accents,
                "lowercase": rules.lowercase,
            }
        )
        return {"type": "Sequence", "normalizers": steps}
    steps += [_replace(words.UNICODE_BLANKS, " "), _replace(words.INVISIBLE, "")]
    if rules.strip_accents:
        steps += [{"type": "NFD"}, _replace(words.UNICODE_ACCENTS, "")]
    steps.append({"type": "NFC"})
    if rules.lowercase:
        steps.append({"type": "Lowercase"})
    return {"type": "Sequence", "normalizers": steps}


def _splitter(rules: words.WordRules) -> dict[str, Any]:
    parts = ((words.BLANKS, "Removed"), (words.kept_delimiters(rules), "Isolated"))
    return {
        "type": "Sequence",
        "pretokenizers": [
            {
                "type": "Split",
                "pattern": {"Regex": pattern},
                "behavior": behavior,
                "invert": False,
            }
            for pattern, behavior in parts
        ],
    }


def _template(special: dict[str, int]) -> dict[str, Any]:
    def token(name: str, segment: int = 0) -> dict[str, Any]:
        return {"SpecialToken": {"id": name, "type_id": segment}}

    def text(name: str, segment: int) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": segment}}

    single = [token(CLS), text("A", 0), token(SEP)]
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, text("B", 1), token(SEP, 1)],
        "special_tokens": {
            name: {"id": name, "ids": [special[name]], "tokens": [name]} for name in (CLS, SEP)
        },
    }


def _replace(pattern: str, replacement: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"Regex": pattern}, "content": replacement}
