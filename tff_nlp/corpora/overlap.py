"""Finds texts that are in both the training and the test corpus, and splits without such texts.

If examples are pairs of texts, two pairs are the same if both of their texts are the same.
"""

import dataclasses
import unicodedata

import numpy as np

from tff_nlp import seeds
from tff_nlp.corpora.corpus import Corpus, Example
from tff_nlp.errors import UserError


@dataclasses.dataclass(frozen=True)
class OverlapReport:
    """The texts that the training and the test corpus share.

    Attributes:
      shared_texts: Number of distinct normalized texts, or pairs of texts, that are in both.
      train_rows: Number of rows of the training corpus with a shared text.
      test_rows: Number of rows of the test corpus with a shared text.
      dropped: Whether the rows with shared texts were removed from the training corpus.
      pairs: Whether the rows are pairs of texts.
    """

    shared_texts: int
    train_rows: int
    test_rows: int
    dropped: bool
    pairs: bool = False

    def line(self) -> str:
        """Returns the report as one sentence."""
        if not self.shared_texts:
            return f"no {'pair of texts' if self.pairs else 'text'} is in both train and test"
        fate = "left out of train" if self.dropped else "KEPT in both: test figures are too good"
        return (
            f"{self.shared_texts} {'pairs of texts' if self.pairs else 'texts'} are in both train"
            f" and test ({self.train_rows} train rows, {self.test_rows} test rows): {fate}"
        )


def normalize(text: str) -> str:
    """Returns the normalized text: NFC, case-folded, single blanks. Equal forms are one text."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def _normalized(corpus: Corpus) -> list[Example]:
    """Returns the normalized text, or pair of texts, of each row."""
    if corpus.second_texts is None:
        return [normalize(text) for text in corpus.texts]
    pairs = zip(corpus.texts, corpus.second_texts, strict=True)
    return [(normalize(first), normalize(second)) for first, second in pairs]


def drop_overlap(
    train: Corpus, test: Corpus, *, keep: bool = False
) -> tuple[Corpus, OverlapReport]:
    """Returns the training corpus without the texts of the test corpus, and a report.

    Args:
      train: The training corpus.
      test: The test corpus. It does not change.
      keep: Whether to keep the shared texts and only count them.

    Raises:
      UserError: If no training row, or no training row of some label, would remain.
    """
    test_texts = _normalized(test)
    in_test = set(test_texts)
    train_texts = _normalized(train)
    shared = in_test.intersection(train_texts)
    kept = np.array([text not in shared for text in train_texts], dtype=bool)
    report = OverlapReport(
        shared_texts=len(shared),
        train_rows=int(len(kept) - kept.sum()),
        test_rows=sum(text in shared for text in test_texts),
        dropped=bool(shared) and not keep,
        pairs=train.has_pairs,
    )
    if keep or not shared:
        return train, report
    if not kept.any():
        raise UserError(
            f"`test_corpus`: all {len(train)} training texts are also in the test corpus"
            " (`keep_overlap` keeps them)"
        )
    remaining = train.take(np.flatnonzero(kept))
    lost = (train.label_counts() > 0) & (remaining.label_counts() == 0)
    if lost.any():
        raise UserError(
            f"`test_corpus`: {report.train_rows} of the {len(train)} training texts are also in"
            f" the test corpus; without them no row has the label"
            f" '{train.label_names[int(np.argmax(lost))]}' (`keep_overlap` keeps them)"
        )
    return remaining, report


def split(
    corpus: Corpus, fraction: float, seed: int, *, stratify: bool = True
) -> tuple[Corpus, Corpus]:
    """Splits a corpus into a random training part and a test part. Equal texts stay together.

    Args:
      corpus: The corpus to split.
      fraction: Fraction of the rows for the test part, between 0 and 1.
      seed: Seed of the run.
      stratify: Whether to take this fraction of each label. A label with at least two different
        texts then has at least one row in the test part. A text with several labels counts for its
        first label. This has no effect without labels.

    Returns:
      The training part and the test part, both in the order of the corpus.

    Raises:
      UserError: If the fraction is out of range, or if a part would be empty.
    """
    if not 0.0 < fraction < 1.0:
        raise UserError(f"`test_fraction`={fraction}: must lie between 0 and 1")
    stratify = stratify and corpus.is_labelled
    groups: dict[Example, list[int]] = {}
    for row, text in enumerate(_normalized(corpus)):
        groups.setdefault(text, []).append(row)
    strata: dict[int, list[list[int]]] = {}
    for rows in groups.values():
        strata.setdefault(int(corpus.labels[rows[0]]) if stratify else 0, []).append(rows)
    in_test = np.zeros(len(corpus), dtype=bool)
    for stratum in sorted(strata):
        members = strata[stratum]
        wanted = round(fraction * sum(map(len, members)))
        if stratify and len(members) > 1:
            wanted = max(wanted, min(map(len, members)))
        order = seeds.generator(seed, "test split", stratum).permutation(len(members))
        for index in order:
            # A group of equal texts that is too large for the remaining rows stays in train.
            if len(members[index]) <= wanted:
                in_test[members[index]] = True
                wanted -= len(members[index])
    if in_test.all() or not in_test.any():
        raise UserError(
            f"`test_fraction`={fraction}: {len(corpus)} rows of {len(groups)} texts leave"
            " train or test empty"
        )
    return corpus.take(np.flatnonzero(~in_test)), corpus.take(np.flatnonzero(in_test))
