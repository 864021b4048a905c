"""Classifiers of texts or pairs of texts: an encoder and a head, for training and export."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tff_nlp.clients import token_cache
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.errors import UserError
from tff_nlp.models import classifier, encoders, many_texts, pretrained, tokenizer
from tff_nlp.models.adapters import folding
from tff_nlp.runs import (
    adapters,
    confusion_picture,
    example_tables,
    keras_objectives,
    learner,
    pages,
    token_report,
    user_folders,
)
from tff_nlp.runs.configs.model import ModelConfig
from tff_nlp.runs.configs.task_names import CLASSIFICATION
from tff_nlp.serving import export
from tff_nlp.tasks import classification, classification_scores, pairs
from tff_nlp.tasks import task as tasks

_EVALUATION_BATCH = 128


@dataclasses.dataclass(frozen=True, eq=False)
class TextClassifier:
    """A classifier of texts, or of pairs of texts, before or after training.

    Attributes:
      model: The network as a pure function of its weights.
      task: The task, the argument of algorithms.
      label_names: Names of the labels, in their order.
      config: The config of the model.
      store: The tokens of corpora.
    """

    model: classifier.Classifier
    task: tasks.Task
    label_names: tuple[str, ...]
    config: ModelConfig
    store: learner.TokenStore

    def describe(self) -> str:
        """Returns a readable description of the classifier, one sentence."""
        return (
            f"{self.config.encoder} ({self.model.tokenizer.rules.describe()}), "
            f"{self.config.pooling} pooling, {adapters.describe(self.config)}: "
            f"{self.model.trainable_parameters:,} parameters train, "
            f"{self.model.frozen_parameters:,} are frozen"
        )

    def tokens(self, corpus: Corpus) -> token_cache.TokenCache:
        """Returns the tokens of a corpus, from the cache if they are there.

        Raises:
          UserError: If the corpus has pairs of texts and the model reads single texts, or the
            opposite.
        """
        return self.store.tokens(corpus)

    def report_tokens(self, corpus: Corpus) -> token_report.TokenReport:
        """Returns what the tokenizer leaves out of a corpus."""
        rules = self.model.tokenizer.rules
        return token_report.measure(
            corpus,
            self.tokens(corpus),
            self.model.tokenizer.whole_lengths,
            added=tokenizer.added_tokens(corpus.has_pairs),
            unknown_id=self.model.tokenizer.unknown_id,
            decodes_html_entities=rules.decode_html_entities,
        )

    def targets(self, corpus: Corpus) -> np.ndarray:
        """Returns the labels of a corpus, int32[examples]."""
        return corpus.labels

    def keras_objective(self) -> keras_objectives.Objective:
        """Returns the loss and the metrics of the task for plain Keras."""
        return keras_objectives.labels()

    def evaluation_set(
        self,
        name: str,
        corpus: Corpus,
        *,
        rows: np.ndarray | None = None,
        clients: np.ndarray | None = None,
        domains: Sequence[str] | None = None,
    ) -> classification_scores.EvaluationSet:
        """Returns an evaluation set of rows of a corpus (see `learner.Learner`)."""
        rows = np.arange(len(corpus)) if rows is None else rows
        pad_id = self.model.tokenizer.pad_id
        return classification_scores.EvaluationSet(
            name,
            corpus.labels[rows],
            learner.batches(self.tokens(corpus), rows, pad_id, _EVALUATION_BATCH),
            clients,
            domains,
        )

    def predict(self, weights: Any, texts: many_texts.Texts) -> list[tuple[str, float]]:
        """Returns the most probable label of each text, and its probability.

        Args:
          weights: The weights, `trainable` and `non_trainable`.
          texts: The texts. If the classifier reads pairs, tuples of a first and a second text.

        Raises:
          TypeError: If the classifier reads pairs and these are single texts, or the opposite.
        """
        columns = many_texts.columns(texts, pairs=self.model.reads_pairs)
        flat, lengths = self.model.tokenizer.encode(
            columns[0], self.config.max_tokens, *columns[1:]
        )
        logits = classification.predictor(self.model)(weights)
        labels = []
        for tokens in np.split(flat, np.cumsum(lengths)[:-1]) if len(lengths) else []:
            row = logits(tokens[np.newaxis])[0].astype(np.float64)
            shares = np.exp(row - row.max())
            best = int(shares.argmax())
            labels.append((self.label_names[best], float(shares[best] / shares.sum())))
        return labels

    def describe_scores(self, scores: classification_scores.Scores) -> dict[str, Any]:
        """Returns the entry of result.json for the scores on the test set."""
        untested = [
            name
            for name, row in zip(self.label_names, scores.confusion, strict=True)
            if not sum(row)
        ]
        names = {"label_names": list(self.label_names), "untested_labels": untested}
        return {**scores.to_json(), **names}

    def export(
        self,
        weights: Any,
        folder: str | pathlib.Path,
        *,
        strip_prefix: str = "",
        info: Mapping[str, Any] | None = None,
    ) -> str:
        """Writes a SavedModel from strings to labels, and returns its fingerprint.

        Low-rank factors are folded into the matrices that they change.

        Args:
          weights: The weights, `trainable` and `non_trainable`.
          folder: Folder of the SavedModel. An older export in it is replaced.
          strip_prefix: Prefix that the SavedModel removes once from each text that starts with it.
          info: Additional entries of the info file.
        """
        model, trainable, frozen = folding.fold(
            self.model, weights.trainable, weights.non_trainable
        )
        return export.export(
            folder,
            model,
            trainable,
            frozen,
            self.label_names,
            self.config.max_tokens,
            strip_prefix=strip_prefix,
            info=info,
        )

    def draw(
        self, scores: classification_scores.Scores, folder: pathlib.Path, title: str
    ) -> list[str]:
        """Draws the confusion matrix, and returns the name of the picture."""
        confusion_picture.draw_confusion(
            scores.confusion, self.label_names, folder / confusion_picture.FILE, title=title
        )
        return [confusion_picture.FILE]

    def show_texts(
        self, scores: classification_scores.Scores, corpus: Corpus
    ) -> Mapping[str, pages.Table]:
        """Returns ten texts, and the ones most wrongly predicted (see `learner.Learner`)."""
        return example_tables.of_labels(scores, corpus, self.label_names)


def build_classifier(
    corpus: Corpus,
    *,
    logit_adjustment: float = 0.0,
    seed: int = 0,
    cache_dir: str | pathlib.Path | None = None,
    **model: Any,
) -> TextClassifier:
    """Returns a classifier for the labels of a corpus.

    Args:
      corpus: The training texts. A "random" encoder learns its vocabulary from them. If there are
        second texts, the classifier reads pairs.
      logit_adjustment: Correction of label skew, see `tasks.classification.log_prior`; 0 for none.
      seed: Seed of the initial weights.
      cache_dir: Folder of the token caches; None for tff_nlp in $XDG_CACHE_HOME or ~/.cache.
      **model: Options of `runs.configs.ModelConfig`: `encoder` ("minilm", "random", a Hugging Face
        BERT folder, or a KerasNLP preset), `trainable`, `pooling`, `dropout`, `max_tokens`. A
        "random" encoder also has `encoder_layers`, `encoder_width`, `encoder_heads` and
        `vocabulary_size`.

    Raises:
      UserError: If an argument is not possible, or the encoder cannot be loaded.

    Example:
      ```
      classifier = tff_nlp.build_classifier(train, encoder="random", encoder_width=64)
      ```
    """
    learner.prepare_libraries()
    return build(
        corpus,
        learner.model_config(CLASSIFICATION, model),
        user_folders.cache_dir(str(cache_dir or "")),
        logit_adjustment=logit_adjustment,
        seed=seed,
    )


def build(
    corpus: Corpus,
    config: ModelConfig,
    cache_dir: pathlib.Path,
    *,
    logit_adjustment: float,
    seed: int,
) -> TextClassifier:
    """Returns a classifier for the labels of a corpus. It reads pairs if the corpus has pairs.

    Args:
      corpus: The training texts.
      config: The resolved config of the model.
      cache_dir: Folder of the token caches.
      logit_adjustment: See `build_classifier`.
      seed: Seed of the initial weights.

    Raises:
      UserError: If the encoder cannot be loaded, or an option is not possible for it.
    """
    with encoders.computing_in(config.compute_dtype):
        model = classifier.build(
            encoder(corpus, config, seed),
            len(corpus.label_names),
            pooling=config.pooling,
            trainable=config.trainable,
            dropout=config.dropout,
            encoder_dropout=config.encoder_dropout,
            seed=seed,
            pairs=corpus.has_pairs,
            adapter=adapters.adapter_of(config),
        )
    if config.max_tokens > model.max_tokens:
        raise UserError(
            f"`max_tokens`={config.max_tokens}: the encoder reads at most {model.max_tokens}"
        )
    make_task = pairs.pairs if corpus.has_pairs else classification.classification
    return TextClassifier(
        model=model,
        task=make_task(model, logit_adjustment=logit_adjustment),
        label_names=tuple(corpus.label_names),
        config=config,
        store=learner.TokenStore(
            model.tokenizer, config.max_tokens, cache_dir, pairs=model.reads_pairs
        ),
    )


def encoder(corpus: Corpus, config: ModelConfig, seed: int) -> encoders.Encoder:
    """Returns the encoder of a config. A random one learns its vocabulary from the corpus."""
    if config.encoder != "random":
        return pretrained.load_encoder(
            config.encoder, decode_html_entities=config.decode_html_entities
        )
    return encoders.random(
        corpus.all_texts,
        layers=config.encoder_layers,
        width=config.encoder_width,
        heads=config.encoder_heads,
        vocabulary_size=config.vocabulary_size,
        max_tokens=config.max_tokens,
        dropout=config.dropout,
        lowercase=config.lowercase is not False,
        strip_accents=bool(config.strip_accents),
        decode_html_entities=config.decode_html_entities,
        seed=seed,
    )
