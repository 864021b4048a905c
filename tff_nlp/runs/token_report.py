"""Counts what a tokenizer leaves out: cut texts, unknown tokens, and HTML entities."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tff_nlp.clients.token_cache import TokenCache
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.models.token_counts import TokenCounts, count_html_entities


@dataclasses.dataclass(frozen=True)
class TokenReport:
    """What the tokenizer leaves out of a corpus.

    Attributes:
      counts: Token counts of the corpus.
      max_tokens: Maximum number of tokens of a text, including added tokens such as [CLS].
      texts_with_html_entities: Number of texts with HTML entities such as "&amp;".
      decoded: Whether the tokenizer decodes the entities.
    """

    counts: TokenCounts
    max_tokens: int
    texts_with_html_entities: int
    decoded: bool

    def lines(self) -> list[str]:
        """Returns a readable report, one sentence per line, as marked texts (`errors`)."""
        lines = [self.counts.line(self.max_tokens)]
        if self.texts_with_html_entities:
            done = (
                "which are decoded"
                if self.decoded
                else "which are not decoded; `decode_html_entities` decodes them"
            )
            lines.append(
                f"{self.texts_with_html_entities:,} texts hold HTML entities such as &amp;, {done}"
            )
        return lines

    def to_json(self) -> Mapping[str, Any]:
        """Returns the entry of result.json and info.json."""
        return {
            **dataclasses.asdict(self.counts),
            "texts_with_html_entities": self.texts_with_html_entities,
        }


def measure(
    corpus: Corpus,
    cache: TokenCache,
    whole_lengths: Callable[..., np.ndarray],
    *,
    added: int,
    unknown_id: int | None,
    decodes_html_entities: bool,
) -> TokenReport:
    """Counts the tokens of a corpus.

    Args:
      corpus: The texts.
      cache: The tokens of the texts.
      whole_lengths: Function from texts, and second texts if there are any, to the number of tokens
        of each uncut text, int32[texts].
      added: Number of tokens that are added to each text, such as [CLS].
      unknown_id: Id of the token for unknown words; None if there are no unknown words.
      decodes_html_entities: Whether the tokenizer decodes HTML entities.
    """
    # Only texts with the maximum number of tokens may have been cut.
    longest = corpus.take(np.flatnonzero(cache.lengths == cache.max_tokens))
    columns = [longest.texts] + ([longest.second_texts] if longest.second_texts else [])
    dropped = whole_lengths(*columns) - cache.max_tokens
    read = len(cache.tokens) - added * len(cache)
    counts = TokenCounts(
        texts=len(cache),
        texts_cut=int((dropped > 0).sum()),
        tokens=int(read + dropped.sum()),
        tokens_dropped=int(dropped.sum()),
        tokens_unknown=0 if unknown_id is None else int((cache.tokens == unknown_id).sum()),
    )
    return TokenReport(
        counts, cache.max_tokens, count_html_entities(corpus.all_texts), decodes_html_entities
    )
