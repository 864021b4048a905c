"""From texts and flags to tokens, the classifier and what it is scored on."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from experiments import data, paths, settings, token_report
from tff_nlp import errors
from tff_nlp.clients import batching, token_cache
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.models import classifier, encoders
from tff_nlp.tasks import classification_scores

EVALUATION_BATCH = 128


def build_classifier(
    flags: settings.ModelFlags, corpus: Corpus, seed: int
) -> classifier.Classifier:
    """Builds the classifier for the labels of a corpus.

    Raises:
      UserError: Where the encoder cannot be loaded or a name or number is not possible.
    """
    with encoders.computing_in(flags.compute_dtype):
        return _build(flags, corpus, seed)


def _build(flags: settings.ModelFlags, corpus: Corpus, seed: int) -> classifier.Classifier:
    if flags.encoder == "random":
        encoder = encoders.random(
            corpus.texts,
            layers=flags.encoder_layers,
            width=flags.encoder_width,
            heads=flags.encoder_heads,
            vocabulary_size=flags.vocabulary_size,
            max_tokens=flags.max_tokens,
            dropout=flags.dropout,
            lowercase=flags.lowercase is not False,
            strip_accents=bool(flags.strip_accents),
            decode_html_entities=flags.decode_html_entities,
            seed=seed,
        )
    else:
        encoder = encoders.load(flags.encoder, decode_html_entities=flags.decode_html_entities)
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


def describe(model: classifier.Classifier, flags: settings.ModelFlags) -> str:
    """Returns the classifier in a sentence, for people."""
    return (
        f"{flags.encoder} ({model.tokenizer.rules.describe()}), {flags.pooling} pooling, trains "
        f"{flags.trainable}: "
        f"{model.trainable_parameters:,} parameters train, {model.frozen_parameters:,} are frozen"
    )


def tokenize(
    corpus: Corpus, model: classifier.Classifier, max_tokens: int, cache_dir: str
) -> token_cache.TokenCache:
    """Returns the tokens of a corpus from the cache that all runs share."""
    return token_cache.open_token_cache(
        paths.cache_dir(cache_dir),
        corpus,
        model.tokenizer.encode,
        tokenizer_fingerprint=model.tokenizer.fingerprint,
        vocabulary_size=len(model.tokenizer.vocabulary),
        max_tokens=max_tokens,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Tokens:
    """The tokens of a run's corpora, and what they leave out.

    Attributes:
      train: Of the training corpus.
      test: Of the test corpus.
      reports: What is lost of each, by "train" and "test".
    """

    train: token_cache.TokenCache
    test: token_cache.TokenCache
    reports: Mapping[str, token_report.TokenReport]


def tokenize_all(
    texts: data.Data, model: classifier.Classifier, max_tokens: int, cache_dir: str
) -> Tokens:
    """Returns the tokens of both corpora, after printing what training leaves out."""
    caches, reports = {}, {}
    for name, corpus in (("train", texts.train), ("test", texts.test)):
        caches[name] = tokenize(corpus, model, max_tokens, cache_dir)
        reports[name] = token_report.measure(corpus, caches[name], model.tokenizer)
    data.say("tokens", reports["train"].lines())
    return Tokens(caches["train"], caches["test"], reports)


def evaluation_set(
    name: str,
    cache: token_cache.TokenCache,
    labels: np.ndarray,
    pad_id: int,
    *,
    rows: np.ndarray | None = None,
    clients: np.ndarray | None = None,
    domains: Sequence[str] | None = None,
) -> classification_scores.EvaluationSet:
    """Returns rows of a tokenized corpus as an evaluation set; all rows if None."""
    rows = np.arange(len(labels)) if rows is None else rows
    return classification_scores.EvaluationSet(
        name,
        labels[rows],
        lambda: batching.evaluation_batches(cache, rows, pad_id, batch_size=EVALUATION_BATCH),
        clients,
        domains,
    )
