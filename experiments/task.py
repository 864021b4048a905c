"""From flags to a task: corpora, clients, tokens and the classifier."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping

import numpy as np

from experiments import settings
from tff_nlp import errors, seeds
from tff_nlp.clients import batching, partition, partitions, splits, token_cache
from tff_nlp.corpora import load
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.corpora.source import CorpusSource
from tff_nlp.models import classifier, encoders
from tff_nlp.program import evaluation

EVALUATION_BATCH = 128


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


def load_data(flags: settings.CorpusFlags, seed: int) -> Data:
    """Loads the corpora.

    Raises:
      UserError: Where a flag, a file or a row is wrong.
    """
    source = _source(flags)
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
    return Data(train, loaded.test.corpus, tuple(notes))


def _overlap(loaded: load.TrainAndTest) -> list[str]:
    report = loaded.overlap
    if not report.train_rows:
        return []
    done = "dropped from training" if report.dropped else "kept (--keep_overlap)"
    return [f"{report.train_rows} training rows whose text is also in the test corpus: {done}"]


def _source(flags: settings.CorpusFlags) -> CorpusSource:
    return CorpusSource(
        path=flags.corpus,
        format=flags.format,
        text_column=flags.text_column,
        label_column=flags.label_column,
        client_column=flags.client_column,
        label_map=flags.label_map,
        label_file=flags.label_file,
        header=flags.header,
        delimiter=flags.delimiter,
        quoting=flags.quoting,
        encoding=flags.encoding,
        bad_rows=flags.bad_rows,
        missing_client=flags.missing_client,
        strip_prefix=flags.strip_prefix,
        data_dir=flags.tfds_data_dir,
    )


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


def build_classifier(
    flags: settings.ModelFlags, corpus: Corpus, seed: int
) -> classifier.Classifier:
    """Builds the classifier for the labels of a corpus.

    Raises:
      UserError: Where the encoder cannot be loaded or a name or number is not possible.
    """
    if flags.encoder == "random":
        encoder = encoders.random(
            corpus.texts,
            layers=flags.encoder_layers,
            width=flags.encoder_width,
            heads=flags.encoder_heads,
            vocabulary_size=flags.vocabulary_size,
            max_tokens=flags.max_tokens,
            dropout=flags.dropout,
            seed=seed,
        )
    else:
        encoder = encoders.load(flags.encoder)
    model = classifier.build(
        encoder,
        len(corpus.label_names),
        pooling=flags.pooling,
        trainable=flags.trainable,
        dropout=flags.dropout,
        seed=seed,
    )
    if flags.max_tokens > model.max_tokens:
        raise errors.UserError(
            f"--max_tokens={flags.max_tokens}: the encoder reads at most {model.max_tokens}"
        )
    return model


def tokenize(
    corpus: Corpus, model: classifier.Classifier, max_tokens: int, cache_dir: str
) -> token_cache.TokenCache:
    """Returns the tokens of a corpus from the cache that all runs share."""
    return token_cache.open_token_cache(
        default_cache_dir() if not cache_dir else pathlib.Path(cache_dir),
        corpus,
        model.tokenizer.encode,
        tokenizer_fingerprint=model.tokenizer.fingerprint,
        vocabulary_size=len(model.tokenizer.vocabulary),
        max_tokens=max_tokens,
    )


def default_cache_dir() -> pathlib.Path:
    """Returns ~/.cache/tff_nlp, or below $XDG_CACHE_HOME."""
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "tff_nlp"


def evaluation_set(
    name: str,
    cache: token_cache.TokenCache,
    labels: np.ndarray,
    pad_id: int,
    *,
    rows: np.ndarray | None = None,
    clients: np.ndarray | None = None,
) -> evaluation.EvaluationSet:
    """Returns rows of a tokenized corpus as an evaluation set; all rows if None."""
    rows = np.arange(len(labels)) if rows is None else rows
    return evaluation.EvaluationSet(
        name,
        labels[rows],
        lambda: batching.evaluation_batches(cache, rows, pad_id, batch_size=EVALUATION_BATCH),
        clients,
    )


def describe(data: Data, model: classifier.Classifier, flags: settings.ModelFlags) -> list[str]:
    """Returns what a run will work on, for people, a sentence a line."""
    synthetic = " (synthetic)" if data.train.synthetic else ""
    counts = ", ".join(
        f"{name} {count:,}"
        for name, count in zip(data.train.label_names, data.train.label_counts(), strict=True)
    )
    return [
        *(f"corpus    {note}" for note in data.notes),
        f"corpus    {data.train.name}{synthetic}: {len(data.train):,} training examples "
        f"({counts}), {len(data.test):,} test examples",
        f"model     {flags.encoder}, {flags.pooling} pooling, trains {flags.trainable}: "
        f"{model.trainable_parameters:,} parameters train, {model.frozen_parameters:,} are frozen",
    ]


def fingerprints(data: Data) -> Mapping[str, str]:
    """Returns the fingerprints of the corpora."""
    return {"train": data.train.fingerprint, "test": data.test.fingerprint}
