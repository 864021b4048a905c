"""How much of some texts a model reads, and what it knows of that."""

import dataclasses
import html
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class TokenCounts:
    """Tokens of some texts; [CLS] and [SEP] are left out.

    Attributes:
      texts: Number of texts.
      texts_cut: Texts that are longer than the model reads.
      tokens: Tokens of all texts.
      tokens_dropped: Tokens that are cut off.
      tokens_unknown: Tokens read that the vocabulary does not know.
    """

    texts: int
    texts_cut: int
    tokens: int
    tokens_dropped: int
    tokens_unknown: int

    @property
    def cut_share(self) -> float:
        """Share of the texts that are cut."""
        return self.texts_cut / max(1, self.texts)

    @property
    def dropped_share(self) -> float:
        """Share of the tokens that are not read."""
        return self.tokens_dropped / max(1, self.tokens)

    @property
    def unknown_share(self) -> float:
        """Share of the tokens read that are unknown."""
        return self.tokens_unknown / max(1, self.tokens - self.tokens_dropped)

    def line(self, max_tokens: int) -> str:
        """Returns the shares for people."""
        return (
            f"{self.cut_share:.1%} of {self.texts:,} texts are longer than --max_tokens="
            f"{max_tokens}, {self.dropped_share:.1%} of all tokens are not read; "
            f"{self.unknown_share:.1%} of those read are unknown"
        )


def count_html_entities(texts: Iterable[str]) -> int:
    """Returns how many texts hold HTML entities such as "&amp;"."""
    return sum("&" in text and html.unescape(text) != text for text in texts)
