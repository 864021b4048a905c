"""Functions that read a corpus, split it, and partition it into clients."""

from typing import Any

from tff_nlp.clients import partitions
from tff_nlp.clients.partition import Partition
from tff_nlp.corpora import load, overlap
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.corpora.source import CorpusSource


def read_corpus(path: str, **reading: Any) -> Corpus:
    """Reads labelled texts.

    Args:
      path: A CSV, TSV or JSON Lines file, several files separated by commas, or any other value of
        `corpus`.
      **reading: The format of the file. The names are those of the flags: `text_column`,
        `label_column`, `client_column`, `label_map`, `delimiter`, `encoding`, `bad_rows` and so on,
        see `corpora.source.CorpusSource`.

    Raises:
      UserError: If an argument, a file or a row is wrong.

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
    """Splits a corpus at random into training and test part. Equal texts stay in the same part.

    Args:
      corpus: The corpus.
      test_fraction: Share of the rows of each label for the test part.
      seed: Seed of the random choice.

    Raises:
      UserError: If the fraction is out of range, or a part would be empty.
    """
    return overlap.split(corpus, test_fraction, seed)


def partition(
    corpus: Corpus, kind: str = "iid", *, num_clients: int = 100, seed: int = 0, **settings: Any
) -> Partition:
    """Assigns the rows of a corpus to clients.

    Args:
      corpus: The corpus.
      kind: "natural" (one client per author), "grouped", "domains", "iid", "dirichlet", "shards" or
        "quantity".
      num_clients: Number of clients. "natural" and "domains" do not use it.
      seed: Seed of the random choice.
      **settings: `alpha` of "dirichlet" and "quantity", `shards_per_client`, `clients_per_domain`,
        `min_examples`.

    Raises:
      UserError: If an argument is missing, out of range, or does not fit the corpus.
    """
    settings.setdefault("alpha", 0.5)
    settings.setdefault("shards_per_client", 2)
    return partitions.build(corpus, kind, seed, num_clients=num_clients, **settings)
