"""The value that every reader returns: texts or pairs of texts, labels and authors."""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence

import numpy as np

# What a model reads of one example: its text, or its first and second text.
Example = str | tuple[str, str]


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
    """Texts or pairs of texts, with labels or without.

    Attributes:
      name: Name of the file or data set, for messages.
      texts: One text per example. If the examples are pairs: the first text of each pair.
      labels: int32[examples], indices into `label_names`; int32[0] if the texts have no labels.
      label_names: Names of the labels, in index order. Empty if the texts have no labels.
      authors: Author, domain or other group of each example. None if the corpus has no groups.
      synthetic: Whether the texts were generated. Reports mention it.
      second_texts: The second text of each example. None if each example is a single text.
    """

    name: str
    texts: tuple[str, ...]
    labels: np.ndarray
    label_names: tuple[str, ...]
    authors: tuple[str, ...] | None = None
    synthetic: bool = False
    second_texts: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def __post_init__(self) -> None:
        if len(self.labels) != (len(self.texts) if self.is_labelled else 0):
            raise ValueError(f"{self.name}: {len(self.texts)} texts, {len(self.labels)} labels")
        if self.authors is not None and len(self.authors) != len(self.texts):
            raise ValueError(f"{self.name}: {len(self.texts)} texts, {len(self.authors)} authors")
        if self.second_texts is not None and len(self.second_texts) != len(self.texts):
            raise ValueError(
                f"{self.name}: {len(self.texts)} texts, {len(self.second_texts)} second texts"
            )

    @property
    def is_labelled(self) -> bool:
        """Whether the texts have labels."""
        return bool(self.label_names)

    @property
    def has_pairs(self) -> bool:
        """Whether an example is a pair of texts."""
        return self.second_texts is not None

    @functools.cached_property
    def examples(self) -> tuple[Example, ...]:
        """What a model reads of each example. Examples are the same if these values are equal."""
        if self.second_texts is None:
            return self.texts
        return tuple(zip(self.texts, self.second_texts, strict=True))

    @property
    def all_texts(self) -> tuple[str, ...]:
        """All texts, from which a vocabulary is learned: all first texts, then all second texts."""
        return self.texts + (self.second_texts or ())

    def take(self, rows: Sequence[int] | np.ndarray) -> "Corpus":
        """Returns the corpus of these rows, in this order."""
        rows = np.asarray(rows, dtype=np.int64)

        def taken(column: tuple[str, ...] | None) -> tuple[str, ...] | None:
            return None if column is None else tuple(column[row] for row in rows)

        return dataclasses.replace(
            self,
            texts=tuple(self.texts[row] for row in rows),
            labels=self.labels[rows] if self.is_labelled else self.labels,
            authors=taken(self.authors),
            second_texts=taken(self.second_texts),
        )

    def label_counts(self) -> np.ndarray:
        """Returns int64[labels]: the number of examples with each label."""
        return np.bincount(self.labels, minlength=len(self.label_names))

    @functools.cached_property
    def fingerprint(self) -> str:
        """A SHA-256 hash of the texts, labels, label names and authors, but not of the name."""
        digest = hashlib.sha256()
        # A corpus of single texts has no part for second texts in the hash, not even an empty one.
        second = () if self.second_texts is None else (self.second_texts,)
        for part in (self.label_names, self.texts, self.authors or (), *second):
            digest.update(f"{len(part)};".encode())
            for text in part:
                data = text.encode("utf-8", "surrogatepass")
                digest.update(b"%d:" % len(data))
                digest.update(data)
        digest.update(np.ascontiguousarray(self.labels, dtype="<i4").tobytes())
        return digest.hexdigest()
