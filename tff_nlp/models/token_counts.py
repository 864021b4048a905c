"""Counts of the tokens that a model reads, cuts off and does not know."""

import dataclasses
import html
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class TokenCounts:
    """Token counts of some texts, without [CLS] and [SEP].

    Attributes:
      texts: Number of texts.
      texts_cut: Number of texts that are longer than the model reads.
      tokens: Number of tokens of all texts.
      tokens_dropped: Number of tokens that are cut off.
      tokens_unknown: Number of tokens that are read but are not in the vocabulary.
    """

    texts: int
    texts_cut: int
    tokens: int
    tokens_dropped: int
    tokens_unknown: int

    @property
    def cut_share(self) -> float:
        """Fraction of the texts that are cut."""
        return self.texts_cut / max(1, self.texts)

    @property
    def dropped_share(self) -> float:
        """Fraction of the tokens that are not read."""
        return self.tokens_dropped / max(1, self.tokens)

    @property
    def unknown_share(self) -> float:
        """Fraction of the read tokens that are unknown."""
        return self.tokens_unknown / max(1, self.tokens - self.tokens_dropped)

    def line(self, max_tokens: int) -> str:
        """Returns the fractions as a sentence, a marked text (`errors`)."""
        return (
            f"{self.cut_share:.1%} of {self.texts:,} texts are longer than `max_tokens`="
            f"{max_tokens}, {self.dropped_share:.1%} of all tokens are not read; "
            f"{self.unknown_share:.1%} of those read are unknown"
        )


def count_html_entities(texts: Iterable[str]) -> int:
    """Returns the number of texts with HTML entities such as "&amp;"."""
    return sum("&" in text and html.unescape(text) != text for text in texts)
