"""Loads the corpora and partitions them, as the configuration says. Needs no TensorFlow."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tff_nlp import errors, seeds
from tff_nlp.clients import partitions, splits
from tff_nlp.corpora import load, vader
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.printable import printable
from tff_nlp.runs import (
    checks,
    configs,
    public_texts,
    reporter,
    saved_partitions,
    user_folders,
)
from tff_nlp.runs.configs import task_names

_LONGEST_NAME = 40  # Characters of a label's name in a line.


@dataclasses.dataclass(frozen=True, eq=False)
class Data:
    """The texts of a task.

    Attributes:
      train: Training corpus.
      test: Test corpus, with the same label names.
      notes: Notes about the loading, one sentence each, as marked texts (`errors`).
      public: Public texts, on which models are distilled; None if the run does not distil.
    """

    train: Corpus
    test: Corpus
    notes: tuple[str, ...]
    public: Corpus | None = None

    @property
    def title(self) -> str:
        """The name of the corpus. It contains "synthetic" if the texts are synthetic."""
        # The name of the embedded corpus already contains the word.
        synthetic = self.train.synthetic and "synthetic" not in self.train.name
        return self.train.name + (" (synthetic)" if synthetic else "")

    def describe(self) -> list[str]:
        """Returns a readable description of the corpora, one sentence per line."""
        if not self.train.is_labelled:
            sizes = f"{len(self.train):,} training texts, {len(self.test):,} test texts"
            return [*self.notes, f"{errors.verbatim(self.title)}: {sizes}"]
        counts = ", ".join(
            f"{errors.verbatim(printable(name, _LONGEST_NAME))} {count:,}"
            for name, count in zip(self.train.label_names, self.train.label_counts(), strict=True)
        )
        return [
            *self.notes,
            f"{errors.verbatim(self.title)}: {len(self.train):,} training examples ({counts}), "
            f"{len(self.test):,} test examples",
        ]

    def fingerprints(self) -> Mapping[str, str]:
        """Returns the fingerprints of the texts, for the recorded configuration."""
        corpora = {"corpus": self.train, "test_corpus": self.test, "public_corpus": self.public}
        return {
            f"{name} (fingerprint)": corpus.fingerprint
            for name, corpus in corpora.items()
            if corpus is not None
        }


def load_data(
    flags: configs.CorpusConfig,
    seed: int,
    cache_dir: str = "",
    public: configs.DistillationConfig | None = None,
) -> Data:
    """Loads the corpora.

    Args:
      flags: The configuration of the corpora.
      seed: Seed of the run.
      cache_dir: Value of `cache_dir`. A corpus that is downloaded by its name is kept there.
      public: The configuration of public texts; None if the run does not distil.

    Raises:
      UserError: If a flag, a file or a row is wrong, or a corpus cannot be downloaded.
    """
    source = _source(flags, cache_dir, public.public_corpus if public else "")
    test_source = None
    if flags.test_corpus:
        test_source = dataclasses.replace(
            source,
            path=flags.test_corpus,
            label_file=flags.test_label_file,
            split="",
            flag_prefix="test_",
        )
    loaded = load.load_train_and_test(
        source,
        test_source,
        test_fraction=flags.test_fraction,
        seed=seed,
        keep_overlap=flags.keep_overlap,
    )
    train = loaded.train.corpus
    notes = [*loaded.train.report.lines(), f"tested on {loaded.origin}", *_overlap(loaded)]
    train = _some(train, flags.max_train_examples, "train", seed, notes)
    test = _some(loaded.test.corpus, flags.max_test_examples, "test", seed, notes)
    chosen = None
    if public is not None:
        # No public text may be in the test corpus, also not in the part that is not used.
        chosen = public_texts.choose(public, source, train, loaded.test.corpus, seed)
        train = chosen.train
        notes += chosen.notes
    untested = [
        errors.verbatim(printable(name, _LONGEST_NAME))
        for name, trained, tested in zip(
            train.label_names, train.label_counts(), test.label_counts(), strict=True
        )
        if trained and not tested
    ]
    if untested:
        notes.append(
            f"no test example has the label {', '.join(untested)}: it is learned but not tested"
        )
    return Data(train, test, tuple(notes), chosen.public if chosen else None)


def _some(corpus: Corpus, most: int | None, part: str, seed: int, notes: list[str]) -> Corpus:
    """Returns at most so many random examples of a corpus, and adds a note if some are left out."""
    if most is None or most >= len(corpus):
        return corpus
    rng = seeds.generator(seed, f"max_{part}_examples")
    kind = {"train": "training", "test": "test"}[part]
    notes.append(f"{most} random {kind} examples by `max_{part}_examples`")
    return corpus.take(np.sort(rng.permutation(len(corpus))[:most]))


def _overlap(loaded: load.TrainAndTest) -> list[str]:
    report = loaded.overlap
    if not report.train_rows:
        return []
    done = "dropped from training" if report.dropped else "kept (`keep_overlap`)"
    shared = "pair of texts" if report.pairs else "text"
    return [f"{report.train_rows} training rows with a {shared} of the test corpus: {done}"]


def _source(flags: configs.CorpusConfig, cache_dir: str, public_corpus: str) -> CorpusSource:
    data_dir = flags.tfds_data_dir
    if vader.NAME in (flags.corpus, flags.test_corpus, public_corpus):
        folder = user_folders.cache_dir(cache_dir)
        if not vader.is_stored(folder):
            reporter.say("loading", ["the sentences of `corpus`=vader, from the package index"])
        data_dir = str(folder)
    return CorpusSource(
        path=flags.corpus,
        labelled=flags.task != task_names.LANGUAGE_MODEL,
        label_column=flags.label_column,
        client_column=flags.client_column,
        label_map=flags.label_map,
        label_file=flags.label_file,
        missing_client=flags.missing_client,
        strip_prefix=flags.strip_prefix,
        data_dir=data_dir,
        negative_at_most=flags.negative_at_most,
        positive_at_least=flags.positive_at_least,
        **reading(flags),
    )


def reading(flags: configs.ReadingConfig) -> Mapping[str, Any]:
    """Returns the arguments of a `CorpusSource` that describe the format of files."""
    return {
        "format": flags.format,
        "text_column": flags.text_column,
        "second_text_column": flags.second_text_column,
        "record_path": flags.record_path,
        "header": flags.header,
        "delimiter": flags.delimiter,
        "quoting": flags.quoting,
        "encoding": flags.encoding,
        "missing_values": flags.missing_values,
        "bad_rows": flags.bad_rows,
    }


def resolve_partition(flags: configs.ClientsConfig, corpus: Corpus) -> configs.ClientsConfig:
    """Replaces `partition`=auto by the kind for this corpus."""
    if flags.partition != "auto":
        return flags
    return dataclasses.replace(flags, partition="natural" if corpus.authors else "iid")


def split_clients(
    flags: configs.ClientsConfig, corpus: Corpus, seed: int
) -> saved_partitions.Holders:
    """Partitions the training corpus and splits every client's examples.

    Raises:
      UserError: If a flag does not fit the corpus.
    """
    whole = partitions.build(
        corpus,
        flags.partition,
        seed,
        num_clients=flags.num_clients,
        alpha=flags.dirichlet_alpha,
        shards_per_client=flags.shards_per_client,
        clients_per_domain=flags.clients_per_domain,
        min_examples=flags.min_examples_per_client,
    )
    split = splits.split_clients(
        whole,
        corpus,
        seed,
        validation_fraction=flags.client_validation_fraction or 0.0,
        test_fraction=flags.client_test_fraction,
        held_out_fraction=flags.held_out_fraction,
    )
    if flags.clients_per_round > split.train.num_clients:
        why = f"there are only {split.train.num_clients} training clients"
        checks.refuse("clients_per_round", flags.clients_per_round, why)
    return saved_partitions.Holders(whole, split)
