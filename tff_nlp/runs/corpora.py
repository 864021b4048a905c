"""Corpora and who holds what, with one call each."""

from typing import Any

from tff_nlp.clients import partitions
from tff_nlp.clients.partition import Partition
from tff_nlp.corpora import load, overlap
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.corpora.source import CorpusSource


def read_corpus(path: str, **reading: Any) -> Corpus:
    """Reads labelled texts.

    Args:
      path: A CSV, TSV or JSON Lines file, several of them, or whatever `--corpus` takes.
      **reading: How to read it, by the names of the flags: `text_column`, `label_column`,
        `client_column`, `label_map`, `delimiter`, `encoding`, `bad_rows` and so on, see
        `corpora.source.CorpusSource`.

    Raises:
      UserError: Where an argument, a file or a row is wrong.

    Example:
      ```
      corpus = tff_nlp.read_corpus("reviews.csv", text_column="review", label_column="stars",
                                   label_map="1:bad,2:bad,3:drop,4:good,5:good")
      ```
    """
    return load.load_corpus(CorpusSource(path=str(path), **reading)).corpus


def split_corpus(
    corpus: Corpus, *, test_fraction: float = 0.2, seed: int = 0
) -> tuple[Corpus, Corpus]:
    """Returns a random training part and test part; equal texts stay on one side.

    Args:
      corpus: The corpus.
      test_fraction: Share of each label's rows for the test part.
      seed: The seed of the choice.

    Raises:
      UserError: If the fraction is out of range, or a part would be empty.
    """
    return overlap.split(corpus, test_fraction, seed)


def partition(
    corpus: Corpus, kind: str = "iid", *, num_clients: int = 100, seed: int = 0, **settings: Any
) -> Partition:
    """Returns who holds which rows of a corpus.

    Args:
      corpus: The corpus.
      kind: "natural" (its authors), "grouped", "domains", "iid", "dirichlet", "shards" or
        "quantity".
      num_clients: How many clients, where the kind makes them.
      seed: The seed of the choice.
      **settings: `alpha` of dirichlet and quantity, `shards_per_client`, `min_examples`.

    Raises:
      UserError: If an argument is missing, out of range, or does not fit the corpus.
    """
    settings.setdefault("alpha", 0.5)
    settings.setdefault("shards_per_client", 2)
    return partitions.build(corpus, kind, seed, num_clients=num_clients, **settings)
