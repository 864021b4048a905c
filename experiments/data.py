"""From flags to texts and who holds them: all that can be told before TensorFlow is loaded."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments import paths, settings
from tff_nlp import errors, seeds
from tff_nlp.clients import partition, partitions, splits
from tff_nlp.corpora import load, vader
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.printable import printable

_LONGEST_NAME = 40  # Of a label in a line.


@dataclasses.dataclass(frozen=True, eq=False)
class Data:
    """The texts of a task.

    Attributes:
      train: Training corpus.
      test: Test corpus, with the same label names.
      notes: What loading did, a sentence each.
    """

    train: Corpus
    test: Corpus
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        """The corpus's name, which says so where the texts are synthetic."""
        # The embedded corpus has the word in its name already.
        synthetic = self.train.synthetic and "synthetic" not in self.train.name
        return self.train.name + (" (synthetic)" if synthetic else "")

    def describe(self) -> list[str]:
        """Returns what was loaded, for people, a sentence a line."""
        counts = ", ".join(
            f"{printable(name, _LONGEST_NAME)} {count:,}"
            for name, count in zip(self.train.label_names, self.train.label_counts(), strict=True)
        )
        return [
            *self.notes,
            f"{self.title}: {len(self.train):,} training examples ({counts}), "
            f"{len(self.test):,} test examples",
        ]

    def fingerprints(self) -> Mapping[str, str]:
        """Returns what the configuration records of the texts."""
        return {
            "corpus (fingerprint)": self.train.fingerprint,
            "test_corpus (fingerprint)": self.test.fingerprint,
        }


def load_data(flags: settings.CorpusFlags, seed: int, cache_dir: str = "") -> Data:
    """Loads the corpora.

    Args:
      flags: What to load.
      seed: Seed of the run.
      cache_dir: Value of --cache_dir, where a corpus that is fetched by its name is kept.

    Raises:
      UserError: Where a flag, a file or a row is wrong, or a corpus cannot be fetched.
    """
    source = _source(flags, cache_dir)
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
    if flags.max_train_examples is not None and flags.max_train_examples < len(train):
        rng = seeds.generator(seed, "max_train_examples")
        train = train.take(np.sort(rng.permutation(len(train))[: flags.max_train_examples]))
        notes.append(f"{len(train)} random training examples by --max_train_examples")
    untested = [
        printable(name, _LONGEST_NAME)
        for name, trained, tested in zip(
            train.label_names, train.label_counts(), loaded.test.corpus.label_counts(), strict=True
        )
        if trained and not tested
    ]
    if untested:
        notes.append(
            f"no test example has the label {', '.join(untested)}: it is learned but not tested"
        )
    return Data(train, loaded.test.corpus, tuple(notes))


def _overlap(loaded: load.TrainAndTest) -> list[str]:
    report = loaded.overlap
    if not report.train_rows:
        return []
    done = "dropped from training" if report.dropped else "kept (--keep_overlap)"
    return [f"{report.train_rows} training rows whose text is also in the test corpus: {done}"]


def _source(flags: settings.CorpusFlags, cache_dir: str) -> CorpusSource:
    data_dir = flags.tfds_data_dir
    if vader.NAME in (flags.corpus, flags.test_corpus):
        folder = paths.cache_dir(cache_dir)
        if not vader.is_stored(folder):
            say("loading", ["the sentences of --corpus=vader, from the package index"])
        data_dir = str(folder)
    return CorpusSource(
        path=flags.corpus,
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


def reading(flags: settings.ReadingFlags) -> Mapping[str, Any]:
    """Returns what a `CorpusSource` takes of the flags that say how files are read."""
    return {
        "format": flags.format,
        "text_column": flags.text_column,
        "record_path": flags.record_path,
        "header": flags.header,
        "delimiter": flags.delimiter,
        "quoting": flags.quoting,
        "encoding": flags.encoding,
        "missing_values": flags.missing_values,
        "bad_rows": flags.bad_rows,
    }


def resolve_partition(flags: settings.ClientFlags, corpus: Corpus) -> settings.ClientFlags:
    """Replaces --partition=auto by what it stands for on this corpus."""
    if flags.partition != "auto":
        return flags
    return dataclasses.replace(flags, partition="natural" if corpus.authors else "iid")


def split_clients(
    flags: settings.ClientFlags, corpus: Corpus, seed: int
) -> tuple[partition.Partition, splits.ClientSplits]:
    """Partitions the training corpus and splits every client's examples.

    Raises:
      UserError: Where a flag does not fit the corpus.
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
        test_fraction=flags.client_test_fraction,
        held_out_fraction=flags.held_out_fraction,
    )
    if flags.clients_per_round > split.train.num_clients:
        raise errors.UserError(
            f"--clients_per_round={flags.clients_per_round}: there are only "
            f"{split.train.num_clients} training clients"
        )
    return whole, split


def say(subject: str, lines: Sequence[str]) -> None:
    """Prints lines with their subject before them, at once."""
    for line in lines:
        print(f"{subject:9} {printable(line)}", flush=True)
