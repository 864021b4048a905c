"""Texts, an encoder and a head: everything that training, prediction and export need to share."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from tff_nlp.clients import batching, token_cache
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.errors import UserError
from tff_nlp.models import classifier, encoders
from tff_nlp.runs import learner
from tff_nlp.serving import export
from tff_nlp.tasks import classification, classification_scores
from tff_nlp.tasks import task as tasks


@dataclasses.dataclass(frozen=True, eq=False)
class TextClassifier:
    """A classifier of texts, before or after training.

    Attributes:
      model: The network as a pure function of its weights.
      task: What it is trained for; algorithms take this.
      label_names: Names of the labels, in their order.
      max_tokens: Texts are cut to this many tokens.
      cache_dir: Where tokens of corpora are kept.
    """

    model: classifier.Classifier
    task: tasks.Task
    label_names: tuple[str, ...]
    max_tokens: int
    cache_dir: pathlib.Path

    def tokens(self, corpus: Corpus) -> token_cache.TokenCache:
        """Returns the tokens of a corpus, from the cache where they have been made before."""
        return learner.tokenize(corpus, self.model.tokenizer, self.max_tokens, self.cache_dir)

    def targets(self, corpus: Corpus) -> np.ndarray:
        """Returns int32[examples], the labels of a corpus."""
        return corpus.labels

    def evaluation_set(self, name: str, corpus: Corpus) -> classification_scores.EvaluationSet:
        """Returns a corpus as what the model is scored on.

        Args:
          name: What the set is called.
          corpus: The texts, with the label names of this classifier.
        """
        cache, rows, pad_id = self.tokens(corpus), np.arange(len(corpus)), self.pad_id
        return classification_scores.EvaluationSet(
            name,
            corpus.labels,
            lambda: batching.evaluation_batches(
                cache, rows, pad_id, batch_size=learner.EVALUATION_BATCH
            ),
        )

    @property
    def pad_id(self) -> int:
        """The id that pads batches."""
        return self.model.tokenizer.pad_id

    def predict(self, weights: Any, texts: Sequence[str]) -> list[tuple[str, float]]:
        """Returns the most probable label of each text, and its probability."""
        flat, lengths = self.model.tokenizer.encode(list(texts), self.max_tokens)
        logits = classification.predictor(self.model)(weights)
        found = []
        for tokens in np.split(flat, np.cumsum(lengths)[:-1]) if len(lengths) else []:
            row = logits(tokens[np.newaxis])[0].astype(np.float64)
            shares = np.exp(row - row.max())
            best = int(shares.argmax())
            found.append((self.label_names[best], float(shares[best] / shares.sum())))
        return found

    def export(self, weights: Any, folder: str | pathlib.Path) -> str:
        """Writes a SavedModel from strings to labels; returns its fingerprint."""
        return export.export(
            folder,
            self.model,
            [np.asarray(w) for w in weights.trainable],
            [np.asarray(w) for w in weights.non_trainable],
            self.label_names,
            self.max_tokens,
        )


def build_classifier(
    corpus: Corpus,
    *,
    encoder: str = "minilm",
    trainable: str = "all",
    pooling: str = "mean",
    dropout: float = 0.1,
    max_tokens: int = 64,
    logit_adjustment: float = 0.0,
    seed: int = 0,
    cache_dir: str | pathlib.Path | None = None,
    **random_encoder: Any,
) -> TextClassifier:
    """Returns a classifier for the labels of a corpus.

    Args:
      corpus: The training texts; a "random" encoder learns its vocabulary from them.
      encoder: "minilm", "random", a Hugging Face BERT folder, or a KerasNLP preset.
      trainable: What trains: "all", "no_embeddings", "top_2" and so on, "biases" or "head".
      pooling: What the head reads: "mean", "cls" or "pooler".
      dropout: Rate before the head.
      max_tokens: Longer texts are cut.
      logit_adjustment: Against label skew, see `tasks.classification.log_prior`; 0 for none.
      seed: Seed of the initial weights.
      cache_dir: Where tokens are kept; None for tff_nlp below $XDG_CACHE_HOME or ~/.cache.
      **random_encoder: Sizes of a "random" encoder, see `models.encoders.random`.

    Raises:
      UserError: Where an argument is not possible, or the encoder cannot be loaded.

    Example:
      ```
      classifier = tff_nlp.build_classifier(train, encoder="random", layers=2, width=128, heads=2)
      ```
    """
    learner.prepare_libraries()
    if encoder == "random":
        sizes: dict[str, Any] = {"layers": 2, "width": 128, "heads": 2, **random_encoder}
        built = encoders.random(
            corpus.texts, max_tokens=max_tokens, dropout=dropout, seed=seed, **sizes
        )
    elif random_encoder:
        names = ", ".join(random_encoder)
        raise UserError(f"{names}: only encoder='random' has sizes to choose")
    else:
        built = encoders.load(encoder)
    model = classifier.build(
        built,
        len(corpus.label_names),
        pooling=pooling,
        trainable=trainable,
        dropout=dropout,
        seed=seed,
    )
    if max_tokens > model.max_tokens:
        raise UserError(f"--max_tokens={max_tokens}: the encoder reads at most {model.max_tokens}")
    return TextClassifier(
        model=model,
        task=classification.classification(model, logit_adjustment=logit_adjustment),
        label_names=tuple(corpus.label_names),
        max_tokens=max_tokens,
        cache_dir=learner.default_cache() if cache_dir is None else pathlib.Path(cache_dir),
    )
