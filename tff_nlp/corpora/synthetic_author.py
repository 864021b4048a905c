"""One author of synthetic reviews. Habits are drawn once and shape all of the author's reviews."""

import dataclasses
import re
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from tff_nlp.corpora import synthetic_lexicon as lexicon
from tff_nlp.corpora import synthetic_sentences as sentences

NEGATIVE, NEUTRAL, POSITIVE = range(3)
LABEL_NAMES = ("negative", "neutral", "positive")

# Weights of the kinds of sentences, before each author's taste changes them: stated, denied,
# hearsay, conceded, expected, exclaimed.
_KIND_WEIGHTS = (0.60, 0.10, 0.06, 0.10, 0.10, 0.04)
# The same for neutral reviews: balanced, indifferent, undecided hearsay.
_EVEN_KIND_WEIGHTS = (0.40, 0.50, 0.10)
_LABEL_WEIGHTS = (0.33, 0.27, 0.40)

_OPENERS = (
    "",
    "",
    "",
    "",
    "",
    "Hi all.",
    "Short and sweet:",
    "My two cents:",
    "OK then.",
    "Update:",
)
_SIGNATURES = (
    "",
    "",
    "",
    "",
    "",
    "Cheers.",
    "Over and out.",
    "Hope that helps.",
    "So much for that.",
)
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeiou])(?!use|one)")
_SENTENCE_START = re.compile(r"(^|[.?!:] )([a-z])")

_T = TypeVar("_T")


class _Taste:
    """A weighted choice. Each author draws different weights."""

    def __init__(
        self, rng: np.random.Generator, weights: Sequence[float] | np.ndarray, spread: float
    ) -> None:
        # Gamma variates with a small shape give a few favourites and a long tail.
        drawn = np.asarray(weights) * rng.gamma(spread, size=len(weights)) + 1e-9
        self._cumulative = np.cumsum(drawn / drawn.sum())

    def index(self, rng: np.random.Generator) -> int:
        found = int(np.searchsorted(self._cumulative, rng.random(), side="right"))
        return min(found, len(self._cumulative) - 1)


class _Choice:
    """A weighted choice among things that are equally likely before taste."""

    def __init__(self, rng: np.random.Generator, things: Sequence[str], spread: float) -> None:
        self._things = things
        self._taste = _Taste(rng, np.ones(len(things)), spread)

    def draw(self, rng: np.random.Generator) -> str:
        return self._things[self._taste.index(rng)]


@dataclasses.dataclass(frozen=True)
class Review:
    """A review, before label noise.

    Attributes:
      text: Text of the review.
      label: Index of the true label in `LABEL_NAMES`.
      domain: Name of the domain.
    """

    text: str
    label: int
    domain: str


class Author:
    """Writes reviews. The same generator gives the same reviews."""

    def __init__(self, rng: np.random.Generator) -> None:
        """Draws the author's habits.

        Args:
          rng: The author's own random generator, which is also used for the reviews.
        """
        self._rng = rng
        self._domains = _Taste(rng, np.ones(len(lexicon.DOMAINS)), 0.3)
        self._labels = _Taste(rng, _LABEL_WEIGHTS, 4.0)
        self._kinds = _Taste(rng, _KIND_WEIGHTS, 1.5)
        self._even_kinds = _Taste(rng, _EVEN_KIND_WEIGHTS, 3.0)
        self._choices = {
            name: _Choice(rng, getattr(sentences, name), 0.8)
            for name in (
                "STATED", "DENIED", "HEARSAY", "CONFIRMED", "REFUTED", "UNDECIDED", "CONCEDED",
                "EXPECTED", "BALANCED", "INDIFFERENT", "PRAISE_ENDS", "BLAME_ENDS", "EVEN_ENDS",
                "EXCLAMATIONS",
            )
        }  # fmt: skip
        self._good = _Choice(rng, lexicon.GOOD, 0.6)
        self._bad = _Choice(rng, lexicon.BAD, 0.6)
        self._even = _Choice(rng, lexicon.EVEN, 0.6)
        self._second_sentence = rng.uniform(0.0, 0.7)
        self._aside = rng.uniform(0.0, 0.4)
        self._end = rng.uniform(0.2, 0.8)
        self._opener = _OPENERS[rng.integers(len(_OPENERS))]
        self._signature = _SIGNATURES[rng.integers(len(_SIGNATURES))]
        self._lowercase = rng.random() < 0.15
        self._shouts = rng.random() < 0.2
        self._trails_off = rng.random() < 0.15

    def write(self) -> Review:
        """Returns the author's next review."""
        rng = self._rng
        domain = lexicon.DOMAINS[self._domains.index(rng)]
        label = self._labels.index(rng)
        parts = []
        if rng.random() < self._aside:
            parts.append(domain.asides[rng.integers(len(domain.asides))])
        parts.append(self._opinion(domain, label))
        if rng.random() < self._second_sentence:
            parts.append(self._opinion(domain, label))
        if rng.random() < self._end:
            name = ("BLAME_ENDS", "EVEN_ENDS", "PRAISE_ENDS")[label]
            parts.append(self._choices[name].draw(rng))
        return Review(self._style(" ".join(parts)), label, domain.name)

    def _opinion(self, domain: lexicon.Domain, label: int) -> str:
        rng = self._rng
        slots = self._slots(domain, label)
        pattern = self._even_pattern() if label == NEUTRAL else self._leaning_pattern()
        if pattern.startswith("{exclaimed}"):
            pattern = f"{self._choices['EXCLAMATIONS'].draw(rng)} {{same}}."
        return pattern.format(**slots)

    def _leaning_pattern(self) -> str:
        rng = self._rng
        kind = ("STATED", "DENIED", "HEARSAY", "CONCEDED", "EXPECTED", "")[self._kinds.index(rng)]
        if not kind:
            return "{exclaimed}"
        pattern = self._choices[kind].draw(rng)
        if kind != "HEARSAY":
            return pattern
        slot, reply = ("{same}", "CONFIRMED") if rng.random() < 0.5 else ("{other}", "REFUTED")
        return f"{pattern.replace('{clause}', slot)} {self._choices[reply].draw(rng)}"

    def _even_pattern(self) -> str:
        rng = self._rng
        kind = ("BALANCED", "INDIFFERENT", "HEARSAY")[self._even_kinds.index(rng)]
        pattern = self._choices[kind].draw(rng)
        if kind != "HEARSAY":
            return pattern
        return f"{pattern.replace('{clause}', '{first}')} {self._choices['UNDECIDED'].draw(rng)}"

    def _slots(self, domain: lexicon.Domain, label: int) -> dict[str, str]:
        """Returns a value for each slot that a pattern may have."""
        rng = self._rng
        order = rng.permutation(len(domain.aspects))
        aspects = [domain.aspects[index] for index in order[:4]]
        good = [f"{aspect.noun} {_draw(rng, aspect.praise)}" for aspect in aspects]
        bad = [f"{aspect.noun} {_draw(rng, aspect.blame)}" for aspect in aspects]
        same, other = (bad, good) if label == NEGATIVE else (good, bad)
        good_word, bad_word = self._good.draw(rng), self._bad.draw(rng)
        words = (bad_word, good_word) if label == NEGATIVE else (good_word, bad_word)
        first, second = (good[0], bad[1]) if rng.random() < 0.5 else (bad[0], good[1])
        singular = [aspect.noun for aspect in domain.aspects if not aspect.noun.endswith("s")]
        return {
            "same": same[0],
            "same2": same[2],
            "other": other[1],
            "good": good[0],
            "bad": bad[1],
            "first": first,
            "second": second,
            "same_word": words[0],
            "other_word": words[1],
            "good_word": good_word,
            "bad_word": bad_word,
            "even_word": self._even.draw(rng),
            "even_clause": _draw(rng, lexicon.EVEN_CLAUSES),
            "item": _draw(rng, domain.items),
            "noun": _draw(rng, [noun for noun in singular if noun != "the staff"]),
        }

    def _style(self, text: str) -> str:
        """Returns the text with the author's punctuation, capitals, opening and signature."""
        text = _ARTICLE.sub(r"\1n ", text)
        text = " ".join(filter(None, (self._opener, text, self._signature)))
        text = _SENTENCE_START.sub(lambda match: match[1] + match[2].upper(), text)
        if self._lowercase:
            text = text.lower()
        if self._shouts:
            text = text.replace(". ", "! ").removesuffix(".") + "!!"
        elif self._trails_off:
            text = text.replace(". ", "... ").removesuffix(".") + "..."
        return text


def _draw(rng: np.random.Generator, things: Sequence[_T]) -> _T:
    return things[int(rng.integers(len(things)))]
