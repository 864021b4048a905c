"""What the tokenizer makes of the corpora: texts cut, unknown tokens, HTML entities."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tff_nlp.clients.token_cache import TokenCache
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.models.token_counts import TokenCounts, count_html_entities
from tff_nlp.models.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class TokenReport:
    """What is lost of a corpus.

    Attributes:
      counts: Its tokens.
      max_tokens: The length that texts are cut to, [CLS] and [SEP] included.
      texts_with_html_entities: Texts that hold entities such as "&amp;".
      decoded: Whether entities are decoded.
    """

    counts: TokenCounts
    max_tokens: int
    texts_with_html_entities: int
    decoded: bool

    def lines(self) -> list[str]:
        """Returns the report for people, a sentence a line."""
        said = [self.counts.line(self.max_tokens)]
        if self.texts_with_html_entities:
            done = (
                "which are decoded"
                if self.decoded
                else "read as they stand; --decode_html_entities decodes them"
            )
            said.append(
                f"{self.texts_with_html_entities:,} texts hold HTML entities such as &amp;, {done}"
            )
        return said

    def to_json(self) -> Mapping[str, Any]:
        """Returns what result.json and info.json say."""
        return {
            **dataclasses.asdict(self.counts),
            "texts_with_html_entities": self.texts_with_html_entities,
        }


def measure(corpus: Corpus, cache: TokenCache, tokenizer: Tokenizer) -> TokenReport:
    """Counts the tokens of a corpus.

    Args:
      corpus: The texts.
      cache: Their tokens.
      tokenizer: What they come from.
    """
    # Only a text of the greatest length may have been longer.
    full = np.flatnonzero(cache.lengths == cache.max_tokens)
    whole = tokenizer.whole_lengths([corpus.texts[row] for row in full])
    dropped = whole - cache.max_tokens
    read = len(cache.tokens) - 2 * len(cache)
    counts = TokenCounts(
        texts=len(cache),
        texts_cut=int((dropped > 0).sum()),
        tokens=int(read + dropped.sum()),
        tokens_dropped=int(dropped.sum()),
        tokens_unknown=int((cache.tokens == tokenizer.unknown_id).sum()),
    )
    return TokenReport(
        counts,
        cache.max_tokens,
        count_html_entities(corpus.texts),
        tokenizer.rules.decode_html_entities,
    )
