"""The value that every reader returns: texts, labels and who wrote them."""

import dataclasses
import functools
import hashlib
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
    """Texts, with labels or without.

    Attributes:
      name: For people: a file or data set name.
      texts: One text per example.
      labels: int32[examples], indices into `label_names`; int32[0] where texts have no labels.
      label_names: Names of the labels, in index order; empty where texts have no labels.
      authors: Author, domain or other group of each example, or None if the corpus has none.
      synthetic: Whether the texts were generated; shown wherever the corpus is shown.
    """

    name: str
    texts: tuple[str, ...]
    labels: np.ndarray
    label_names: tuple[str, ...]
    authors: tuple[str, ...] | None = None
    synthetic: bool = False

    def __len__(self) -> int:
        return len(self.texts)

    def __post_init__(self) -> None:
        if len(self.labels) != (len(self.texts) if self.is_labelled else 0):
            raise ValueError(f"{self.name}: {len(self.texts)} texts, {len(self.labels)} labels")
        if self.authors is not None and len(self.authors) != len(self.texts):
            raise ValueError(f"{self.name}: {len(self.texts)} texts, {len(self.authors)} authors")

    @property
    def is_labelled(self) -> bool:
        """Whether the texts have labels."""
        return bool(self.label_names)

    def take(self, rows: Sequence[int] | np.ndarray) -> "Corpus":
        """Returns the corpus of these rows, in this order."""
        rows = np.asarray(rows, dtype=np.int64)
        authors = self.authors
        return dataclasses.replace(
            self,
            texts=tuple(self.texts[row] for row in rows),
            labels=self.labels[rows] if self.is_labelled else self.labels,
            authors=None if authors is None else tuple(authors[row] for row in rows),
        )

    def label_counts(self) -> np.ndarray:
        """Returns int64[labels]: how many examples carry each label."""
        return np.bincount(self.labels, minlength=len(self.label_names))

    @functools.cached_property
    def fingerprint(self) -> str:
        """A SHA-256 over texts, labels, label names and authors (not the name)."""
        digest = hashlib.sha256()
        for part in (self.label_names, self.texts, self.authors or ()):
            digest.update(f"{len(part)};".encode())
            for text in part:
                data = text.encode("utf-8", "surrogatepass")
                digest.update(b"%d:" % len(data))
                digest.update(data)
        digest.update(np.ascontiguousarray(self.labels, dtype="<i4").tobytes())
        return digest.hexdigest()
