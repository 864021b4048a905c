"""The public texts of a run: from a corpus of their own, or set apart from the training texts."""

import dataclasses

import numpy as np

from tff_nlp import errors, seeds
from tff_nlp.corpora import load, overlap
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.runs import checks, configs

# Largest share of the training texts that is set apart.
_SHARE = 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class Chosen:
    """The public texts, and what remains for training.

    Attributes:
      public: The public texts. Their labels, if they have any, are not used.
      train: The training texts.
      notes: Notes about the loading, as marked texts (`errors`).
    """

    public: Corpus
    train: Corpus
    notes: tuple[str, ...]


def choose(
    flags: configs.DistillationConfig,
    source: CorpusSource,
    train: Corpus,
    test: Corpus,
    seed: int,
) -> Chosen:
    """Returns the public texts, without texts of the test corpus.

    Args:
      flags: The configuration of the public texts.
      source: Source of the training corpus.
      train: The training corpus.
      test: The test corpus.
      seed: Seed of the random choices.

    Raises:
      UserError: If a flag, a file or a row is wrong, or no text remains.
    """
    if not flags.public_corpus:
        return _set_apart(flags, train, seed)
    unlabelled = dataclasses.replace(
        source,
        path=flags.public_corpus,
        label_column="",
        label_map="",
        label_file="",
        client_column="",
        split="",
        labelled=False,
        flag_prefix="public_",
    )
    loaded = load.load_corpus(unlabelled)
    try:
        public, report = overlap.drop_overlap(loaded.corpus, test)
    except errors.UserError:
        checks.refuse(
            "public_corpus", flags.public_corpus, "all its texts are also in the test corpus"
        )
    notes = [f"public texts: {line}" for line in loaded.report.lines()]
    if report.train_rows:
        shared = "pair of texts" if report.pairs else "text"
        notes.append(f"{report.train_rows} public rows with a {shared} of the test corpus: dropped")
    if len(public) > flags.public_examples:
        order = seeds.generator(seed, "public_examples").permutation(len(public))
        public = public.take(np.sort(order[: flags.public_examples]))
    notes.append(f"{len(public):,} public texts")
    return Chosen(public, train, tuple(notes))


def _set_apart(flags: configs.DistillationConfig, train: Corpus, seed: int) -> Chosen:
    fraction = min(_SHARE, flags.public_examples / len(train))
    try:
        rest, public = overlap.split(train, fraction, seeds.derive(seed, "public_texts"))
    except errors.UserError:
        checks.refuse_missing(
            "public_corpus",
            f"must be given, since {len(train)} training texts are too few to set some apart",
        )
    note = (
        f"{len(public):,} training texts are set apart as public texts, without their labels "
        "(`public_corpus` gives others)"
    )
    return Chosen(public, rest, (note,))
