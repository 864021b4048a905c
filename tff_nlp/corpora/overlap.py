"""Texts that stand in both the training and the test corpus, and splits that have none."""

import dataclasses
import unicodedata

import numpy as np

from tff_nlp import seeds
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.errors import UserError


@dataclasses.dataclass(frozen=True)
class OverlapReport:
    """What training and test corpus share.

    Attributes:
      shared_texts: Distinct normalised texts in both.
      train_rows: Rows of the training corpus that hold one of them.
      test_rows: Rows of the test corpus that hold one of them.
      dropped: Whether those rows were taken out of the training corpus.
    """

    shared_texts: int
    train_rows: int
    test_rows: int
    dropped: bool

    def line(self) -> str:
        """Returns the report for people."""
        if not self.shared_texts:
            return "no text stands in both train and test"
        fate = "left out of train" if self.dropped else "KEPT in both: test figures are too good"
        return (
            f"{self.shared_texts} texts stand in both train and test ({self.train_rows} train rows,"
            f" {self.test_rows} test rows): {fate}"
        )


def normalize(text: str) -> str:
    """Returns the form in which two texts count as the same: NFC, case folded, single blanks."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def drop_overlap(
    train: Corpus, test: Corpus, *, keep: bool = False
) -> tuple[Corpus, OverlapReport]:
    """Returns the training corpus without the texts of the test corpus, and what they share.

    Args:
      train: The training corpus.
      test: The test corpus, which stays as it is.
      keep: Whether to count only.

    Raises:
      UserError: Where no training row, or none of some label, would remain.
    """
    test_texts = [normalize(text) for text in test.texts]
    in_test = set(test_texts)
    train_texts = [normalize(text) for text in train.texts]
    shared = in_test.intersection(train_texts)
    kept = np.array([text not in shared for text in train_texts], dtype=bool)
    report = OverlapReport(
        shared_texts=len(shared),
        train_rows=int(len(kept) - kept.sum()),
        test_rows=sum(text in shared for text in test_texts),
        dropped=bool(shared) and not keep,
    )
    if keep or not shared:
        return train, report
    if not kept.any():
        raise UserError(
            f"--test_corpus: all {len(train)} training texts also stand in the test corpus"
            " (--keep_overlap keeps them)"
        )
    remaining = train.take(np.flatnonzero(kept))
    lost = (train.label_counts() > 0) & (remaining.label_counts() == 0)
    if lost.any():
        raise UserError(
            f"--test_corpus: {report.train_rows} of the {len(train)} training texts also stand in"
            f" the test corpus; without them no row has the label"
            f" '{train.label_names[int(np.argmax(lost))]}' (--keep_overlap keeps them)"
        )
    return remaining, report


def split(
    corpus: Corpus, fraction: float, seed: int, *, stratify: bool = True
) -> tuple[Corpus, Corpus]:
    """Returns a random training and test part; equal texts stay on one side.

    Args:
      corpus: The corpus to split.
      fraction: Share of the rows for the test part, between 0 and 1.
      seed: The seed of the run.
      stratify: Whether each label has that share, and one row at least if it has texts for both
        parts; texts with several labels count for their first. Without labels it means nothing.

    Returns:
      The training part and the test part, each in the corpus's order.

    Raises:
      UserError: Where the fraction is out of range, or one part would be empty.
    """
    if not 0.0 < fraction < 1.0:
        raise UserError(f"--test_fraction={fraction}: must lie between 0 and 1")
    stratify = stratify and corpus.is_labelled
    groups: dict[str, list[int]] = {}
    for row, text in enumerate(corpus.texts):
        groups.setdefault(normalize(text), []).append(row)
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
            # A group of equal texts that is too big for what is left stays in train.
            if len(members[index]) <= wanted:
                in_test[members[index]] = True
                wanted -= len(members[index])
    if in_test.all() or not in_test.any():
        raise UserError(
            f"--test_fraction={fraction}: {len(corpus)} rows of {len(groups)} texts leave"
            " train or test empty"
        )
    return corpus.take(np.flatnonzero(~in_test)), corpus.take(np.flatnonzero(in_test))
