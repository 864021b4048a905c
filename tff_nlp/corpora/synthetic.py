"""The synthetic corpus: generated reviews of about a hundred authors, from a seed.

It is for tests, and for the demo when there is no package index. Most reviews state their opinion
directly. The others deny praise, concede a fault, or confirm or refute what somebody said, so the
order of the words matters. A given fraction of the labels is wrong, so no classifier can be
perfect.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tff_nlp import seeds
from tff_nlp.corpora.overlap import normalize
from tff_nlp.corpora.rows import ReadNotes, Row
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.corpora.synthetic_author import LABEL_NAMES, Author, Review
from tff_nlp.errors import UserError, setting

GROUPS = ("author", "domain")
_MIN_REVIEWS = 4


@dataclasses.dataclass(frozen=True)
class SyntheticSettings:
    """Settings of the generator, written as `synthetic:train=2000,authors=40`.

    Attributes:
      train: Number of training reviews.
      test: Number of test reviews, by the same authors.
      authors: Number of authors.
      label_noise: Fraction of the labels, in train and test, that are replaced by a wrong label.
        The accuracy of a perfect classifier is one minus this.
      seed: Seed of the generator. It is not the run's seed, so that runs share the corpus.

    Raises:
      UserError: If a value is out of range.
    """

    train: int = 6000
    test: int = 1200
    authors: int = 120
    label_noise: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        if self.authors < 1 or self.train < _MIN_REVIEWS * self.authors:
            raise UserError(
                f"`corpus`=synthetic: train={self.train} reviews are too few for"
                f" authors={self.authors} ({_MIN_REVIEWS} each)"
            )
        if self.test < 1:
            raise UserError(f"`corpus`=synthetic: test={self.test} must be positive")
        if not 0.0 <= self.label_noise < 0.5:
            raise UserError(f"`corpus`=synthetic: label_noise={self.label_noise} must be below 0.5")


@dataclasses.dataclass(frozen=True)
class SyntheticReview:
    """A generated review.

    Attributes:
      text: Text of the review.
      label: Name of the label, which may be wrong because of label noise.
      author: Name of the author, such as "author 007".
      domain: Name of the domain, such as "phones".
    """

    text: str
    label: str
    author: str
    domain: str


def generate(settings: SyntheticSettings, split: str) -> tuple[SyntheticReview, ...]:
    """Returns the reviews of one split, in random order. No text occurs twice in train and test.

    Args:
      settings: Settings of the generator.
      split: "train" or "test".
    """
    reviews = _all_reviews(settings)[split]
    order = seeds.generator(settings.seed, "synthetic order", split).permutation(len(reviews))
    return tuple(reviews[index] for index in order)


# Each run asks for both splits, and several runs of a program for the same ones.
@functools.lru_cache(maxsize=2)
def _all_reviews(settings: SyntheticSettings) -> Mapping[str, Sequence[SyntheticReview]]:
    """Returns the reviews of both splits, by author."""
    train: list[SyntheticReview] = []
    test: list[SyntheticReview] = []
    seen: set[str] = set()
    train_counts = _counts(settings, settings.train, _MIN_REVIEWS)
    test_counts = _counts(settings, settings.test, 0)
    for number in range(settings.authors):
        rng = seeds.generator(settings.seed, "synthetic author", number)
        author = Author(rng)
        for index in range(int(train_counts[number] + test_counts[number])):
            review = _new_review(author, seen)
            label = _noisy(review.label, settings.label_noise, rng)
            made = SyntheticReview(
                review.text, LABEL_NAMES[label], f"author {number:03d}", review.domain
            )
            (train if index < train_counts[number] else test).append(made)
    return {"train": train, "test": test}


def read_synthetic(source: CorpusSource, notes: ReadNotes) -> Iterator[Row]:
    """Yields the rows of one split.

    Args:
      source: The flags. The path is `synthetic` or `synthetic:key=value,...`, and `client_column`
        is "author" or "domain".
      notes: Receives the label names.

    Raises:
      UserError: If a key, a value, the split or a column is unknown.
    """
    settings = parse_settings(source.path, source.corpus_flag)
    if source.split not in ("train", "test"):
        raise UserError(
            f"{setting('split', source.split)}: the synthetic corpus has the splits train, test"
        )
    if source.client_column not in GROUPS:
        raise UserError(
            f"{setting('client_column', source.client_column)}: the synthetic corpus has "
            f"{', '.join(GROUPS)}"
        )
    for flag, column, only in (
        ("text_column", source.text_column, "text"),
        ("label_column", source.label_column, "label" if source.labelled else ""),
    ):
        if column != only:
            raise UserError(f"{setting(flag, column)}: the synthetic corpus has only {only}")
    notes.declared_labels = LABEL_NAMES
    for number, review in enumerate(generate(settings, source.split)):
        client = review.author if source.client_column == "author" else review.domain
        yield Row(source.path, f"review {number}", review.text, review.label, client)


def parse_settings(path: str, flag: str = "corpus") -> SyntheticSettings:
    """Returns the settings that are written after `synthetic:`.

    Args:
      path: The value of the corpus flag.
      flag: The corpus flag, for messages.

    Raises:
      UserError: If a key is unknown, or if a value is not a number or is out of range.
    """
    kinds: Mapping[str, type] = {
        field.name: type(field.default) for field in dataclasses.fields(SyntheticSettings)
    }
    values = {}
    for entry in filter(None, path.partition(":")[2].split(",")):
        key, _, value = entry.partition("=")
        if key not in kinds:
            raise UserError(f"{setting(flag, path)}: '{key}' is not one of {', '.join(kinds)}")
        try:
            values[key] = kinds[key](value)
        except ValueError as error:
            raise UserError(f"{setting(flag, path)}: {key}={value} is not a number") from error
    return SyntheticSettings(**values)


def _counts(settings: SyntheticSettings, total: int, least: int) -> np.ndarray:
    """Returns int64[authors], a skewed number of reviews per author. Their sum is the total."""
    rng = seeds.generator(settings.seed, "synthetic sizes")
    weights = rng.lognormal(0.0, 0.6, settings.authors)
    spare = total - least * settings.authors
    ideal = spare * weights / weights.sum()
    counts = np.floor(ideal).astype(np.int64)
    # The authors with the largest remainders get the reviews that rounding down left over.
    rest = np.argsort(counts - ideal, kind="stable")[: spare - int(counts.sum())]
    counts[rest] += 1
    return counts + least


def _new_review(author: Author, seen: set[str]) -> Review:
    while True:
        review = author.write()
        key = normalize(review.text)
        if key not in seen:
            seen.add(key)
            return review


def _noisy(label: int, noise: float, rng: np.random.Generator) -> int:
    # Always draw both numbers, so that the texts do not depend on the noise.
    is_wrong, shift = rng.random() < noise, int(rng.integers(1, len(LABEL_NAMES)))
    return (label + shift) % len(LABEL_NAMES) if is_wrong else label
