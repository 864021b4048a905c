"""The corpus names that `corpus` accepts, and their settings."""

import dataclasses

from tff_nlp.corpora.source import CorpusSource


@dataclasses.dataclass(frozen=True)
class KnownCorpus:
    """A corpus that is loaded by name.

    Attributes:
      kind: "tfds", "synthetic" or "vader".
      title: The name to show. Empty to show the name itself.
      text_column: Feature that holds the text.
      label_column: Feature that holds the label.
      client_column: Feature that holds the author. Empty if the data set has none.
      label_map: Label map, in the form of `label_map`. Empty to keep the labels.
      train_split: Split to train on.
      test_split: Split with labels to test on. Empty if the data set has none.
    """

    kind: str
    title: str = ""
    text_column: str = "text"
    label_column: str = "label"
    client_column: str = ""
    label_map: str = ""
    train_split: str = "train"
    test_split: str = "test"


NAMES: dict[str, KnownCorpus] = {
    "synthetic": KnownCorpus("synthetic", title="synthetic reviews", client_column="author"),
    # Neutral sentences are dropped; a `label_map` can keep them as a third label.
    "vader": KnownCorpus(
        "vader",
        title="VADER ratings",
        client_column="source",
        label_map="negative:negative,neutral:drop,positive:positive",
        test_split="",
    ),
    # GLUE does not publish the labels of its test split.
    "glue/sst2": KnownCorpus("tfds", text_column="sentence", test_split="validation"),
    "imdb_reviews": KnownCorpus("tfds", label_map="neg:negative,pos:positive"),
    # Only the small test split has neutral tweets (2).
    "sentiment140": KnownCorpus(
        "tfds",
        label_column="polarity",
        client_column="user",
        label_map="0:negative,2:drop,4:positive",
    ),
    "yelp_polarity_reviews": KnownCorpus("tfds", label_map="1:negative,2:positive"),
    "ag_news_subset": KnownCorpus("tfds", text_column="description"),
}

TFDS_PREFIX = "tfds:"
SYNTHETIC_PREFIX = "synthetic:"


def find(path: str) -> KnownCorpus | None:
    """Returns the corpus that a value of `corpus` names, or None if the value is a path.

    A known name wins over a file of the same name. `./imdb_reviews` is always a file.
    """
    if path in NAMES:
        return NAMES[path]
    if path.startswith(SYNTHETIC_PREFIX):
        return NAMES["synthetic"]
    if path.startswith(TFDS_PREFIX):
        known = NAMES.get(path.removeprefix(TFDS_PREFIX))
        if known is not None and known.kind == "tfds":
            return known
        return KnownCorpus("tfds", text_column="", label_column="", test_split="")
    return None


def fill_in(source: CorpusSource, known: KnownCorpus) -> CorpusSource:
    """Returns the source with the columns, label map and split of the known corpus as defaults."""
    label_map = source.label_map
    if source.labelled and not label_map and source.label_column in ("", known.label_column):
        label_map = known.label_map
    return dataclasses.replace(
        source,
        text_column=source.text_column or known.text_column,
        label_column=(source.label_column or known.label_column) if source.labelled else "",
        client_column=source.client_column or known.client_column,
        label_map=label_map,
        split=source.split or known.train_split,
    )
