"""Causal language models of texts, for training, generation and export."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tff_nlp.clients import token_cache
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.errors import UserError
from tff_nlp.models import causal, decoders, encoders, generation, next_token, pretrained
from tff_nlp.models.adapters import folding
from tff_nlp.runs import (
    adapters,
    example_tables,
    keras_objectives,
    learner,
    pages,
    token_report,
    user_folders,
)
from tff_nlp.runs.configs.model import ModelConfig
from tff_nlp.runs.configs.task_names import LANGUAGE_MODEL
from tff_nlp.serving import export_text
from tff_nlp.tasks import language_model, language_scores
from tff_nlp.tasks import task as tasks

# Logits have a column for each token of the vocabulary: this many numbers take 256 MB.
_EVALUATION_LOGITS = 2**26
_EVALUATION_BATCH = 32
# The end-of-text token is added before and after each text.
_ADDED_TOKENS = 2


@dataclasses.dataclass(frozen=True, eq=False)
class TextGenerator:
    """A language model of texts, before or after training.

    Attributes:
      model: The network as a pure function of its weights.
      task: The task, the argument of algorithms.
      config: The config of the model.
      store: The tokens of corpora.
      seen: int64[vocabulary], the frequency of each token as a target in the training texts.
    """

    model: causal.CausalModel
    task: tasks.Task
    config: ModelConfig
    store: learner.TokenStore
    seen: np.ndarray

    def describe(self) -> str:
        """Returns a readable description of the model, one sentence."""
        return (
            f"{self.config.encoder}, {self.model.vocabulary_size:,} byte pairs, "
            f"{adapters.describe(self.config)}: {self.model.trainable_parameters:,} parameters "
            f"train, {self.model.frozen_parameters:,} are frozen"
        )

    def tokens(self, corpus: Corpus) -> token_cache.TokenCache:
        """Returns the tokens of a corpus, from the cache if they are there."""
        return self.store.tokens(corpus)

    def report_tokens(self, corpus: Corpus) -> token_report.TokenReport:
        """Returns what the tokenizer leaves out of a corpus."""
        return token_report.measure(
            corpus,
            self.tokens(corpus),
            self.model.tokenizer.whole_lengths,
            added=_ADDED_TOKENS,
            # Every byte is a token.
            unknown_id=None,
            decodes_html_entities=False,
        )

    def targets(self, corpus: Corpus) -> np.ndarray:
        """Returns zeros, int32[examples]: a text is its own target."""
        return np.zeros(len(corpus), np.int32)

    def keras_objective(self) -> keras_objectives.Objective:
        """Returns the loss and the metrics of the task for plain Keras."""
        return keras_objectives.next_tokens(self.model.tokenizer.pad_id)

    def evaluation_set(
        self,
        name: str,
        corpus: Corpus,
        *,
        rows: np.ndarray | None = None,
        clients: np.ndarray | None = None,
        domains: Sequence[str] | None = None,
    ) -> language_scores.TextSet:
        """Returns an evaluation set of rows of a corpus, with the unigram baseline.

        Args:
          name: Name of the set.
          corpus: The texts.
          rows: int64[n], the rows; None for all rows.
          clients: int64[n], the number of the client that holds each row; None for no scores by
            client.
          domains: Not used, because there are no scores by domain.
        """
        del domains
        cache = self.tokens(corpus)
        rows = np.arange(len(corpus)) if rows is None else rows
        return language_scores.TextSet(
            name,
            len(rows),
            learner.batches(cache, rows, self.model.tokenizer.pad_id, self.evaluation_batch),
            next_token.unigram_perplexity(self.seen, _count(cache, self.model, rows)),
            clients,
        )

    @property
    def evaluation_batch(self) -> int:
        """Number of texts that are evaluated at a time."""
        text = self.config.max_tokens * self.model.vocabulary_size
        return max(1, min(_EVALUATION_BATCH, _EVALUATION_LOGITS // text))

    def describe_scores(self, scores: language_scores.LanguageScores) -> dict[str, Any]:
        """Returns the entry of result.json for the scores on the test set."""
        return scores.to_json()

    def generate(self, weights: Any, prompts: Sequence[str], **sampling: Any) -> list[str]:
        """Returns the continuations of texts.

        Args:
          weights: The weights, `trainable` and `non_trainable`.
          prompts: The texts to continue.
          **sampling: `max_new_tokens`, `top_p` (0 for the most probable token at each position),
            `temperature` and `seed`, see `models.generation.generate`.
        """
        options = {"max_new_tokens": 50, **sampling}
        return list(
            generation.generate(
                self.model, weights.trainable, weights.non_trainable, list(prompts), **options
            )
        )

    def export(
        self,
        weights: Any,
        folder: str | pathlib.Path,
        *,
        strip_prefix: str = "",
        info: Mapping[str, Any] | None = None,
    ) -> str:
        """Writes a SavedModel from strings to strings, and returns its fingerprint.

        Low-rank factors are folded into the matrices that they change.

        Args:
          weights: The weights, `trainable` and `non_trainable`.
          folder: Folder of the SavedModel. An older export in it is replaced.
          strip_prefix: Not used, because the model continues texts as they are.
          info: Additional entries of the info file.
        """
        del strip_prefix
        model, trainable, frozen = folding.fold(
            self.model, weights.trainable, weights.non_trainable
        )
        return export_text.export(
            folder,
            model,
            trainable,
            frozen,
            max_new_tokens=min(50, self.model.max_tokens - 2),
            info=info,
        )

    def draw(
        self, scores: language_scores.LanguageScores, folder: pathlib.Path, title: str
    ) -> list[str]:
        """Draws nothing, because the curves show all scores."""
        del scores, folder, title
        return []

    def show_texts(
        self, scores: language_scores.LanguageScores, corpus: Corpus
    ) -> Mapping[str, pages.Table]:
        """Returns ten texts, and the least expected ones (see `learner.Learner`)."""
        return example_tables.of_perplexities(scores, corpus)


def build_language_model(
    corpus: Corpus,
    *,
    seed: int = 0,
    cache_dir: str | pathlib.Path | None = None,
    **model: Any,
) -> TextGenerator:
    """Returns a causal language model for the texts of a corpus.

    Args:
      corpus: The training texts, with or without labels. A "random" model learns its byte pairs
        from them.
      seed: Seed of the initial weights.
      cache_dir: Folder of the token caches; None for tff_nlp in $XDG_CACHE_HOME or ~/.cache.
      **model: Options of `runs.configs.ModelConfig`: `encoder` ("random", "smollm2", a GGUF file of
        a Llama, a Hugging Face GPT-2 folder, or a KerasNLP preset), `trainable`, `dropout`,
        `max_tokens`. A "random" model also has `encoder_layers`, `encoder_width`, `encoder_heads`
        and `vocabulary_size`.

    Raises:
      UserError: If an argument is not possible, or the model cannot be loaded.

    Example:
      ```
      plays = tff_nlp.read_corpus("input.txt", format="speeches", labelled=False, bad_rows="skip")
      model = tff_nlp.build_language_model(plays, encoder_layers=2, encoder_width=128)
      ```
    """
    learner.prepare_libraries()
    return build(
        corpus,
        learner.model_config(LANGUAGE_MODEL, model),
        user_folders.cache_dir(str(cache_dir or "")),
        seed=seed,
    )


def build(
    corpus: Corpus, config: ModelConfig, cache_dir: pathlib.Path, *, seed: int
) -> TextGenerator:
    """Returns a causal language model for the texts of a corpus.

    Args:
      corpus: The training texts.
      config: The resolved config of the model.
      cache_dir: Folder of the token caches.
      seed: Seed of the initial weights.

    Raises:
      UserError: If the model cannot be loaded, or an option is not possible for it.
    """
    with encoders.computing_in(config.compute_dtype):
        model = causal.build(
            _decoder(corpus, config, seed),
            trainable=config.trainable,
            adapter=adapters.adapter_of(config),
            seed=seed,
        )
    if config.max_tokens > model.max_tokens:
        raise UserError(
            f"`max_tokens`={config.max_tokens}: the model reads at most {model.max_tokens}"
        )
    store = learner.TokenStore(model.tokenizer, config.max_tokens, cache_dir)
    return TextGenerator(
        model=model,
        task=language_model.language_model(model),
        config=config,
        store=store,
        seen=_count(store.tokens(corpus), model, np.arange(len(corpus))),
    )


def _decoder(corpus: Corpus, config: ModelConfig, seed: int) -> decoders.Decoder:
    if config.encoder != "random":
        return pretrained.load_decoder(config.encoder)
    return decoders.random(
        corpus.all_texts,
        layers=config.encoder_layers,
        width=config.encoder_width,
        heads=config.encoder_heads,
        vocabulary_size=config.vocabulary_size,
        max_tokens=config.max_tokens,
        dropout=config.dropout,
        seed=seed,
    )


def _count(
    cache: token_cache.TokenCache, model: causal.CausalModel, rows: np.ndarray
) -> np.ndarray:
    """Returns the frequency of each token as a target in rows of a corpus, int64[vocabulary]."""
    offsets = np.concatenate([[0], np.cumsum(cache.lengths[rows])])
    tokens = cache.gather(rows, offsets[:-1], offsets[-1], model.tokenizer.pad_id)
    return next_token.count_targets(tokens, offsets, model.vocabulary_size)
