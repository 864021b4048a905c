"""Small corpora for the tests of this folder."""

import numpy as np
import pytest

from tff_nlp.corpora.corpus import Corpus


def make_corpus(examples, num_labels=3, authors=None, seed=0, texts=None):
    """Returns a corpus with random labels and, by default, distinct texts."""
    labels = np.random.default_rng(seed).integers(0, num_labels, examples).astype(np.int32)
    return Corpus(
        name="tiny",
        texts=tuple(texts or (f"text number {row}" for row in range(examples))),
        labels=labels,
        label_names=tuple(f"label{label}" for label in range(num_labels)),
        authors=None if authors is None else tuple(authors),
    )


@pytest.fixture(name="make_corpus", scope="session")
def make_corpus_fixture():
    return make_corpus
