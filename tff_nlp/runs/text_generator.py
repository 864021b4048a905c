"""Texts and a causal language model: what training, generation and export need to share."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from tff_nlp.clients import batching, token_cache
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.models import causal, decoders, generation, next_token
from tff_nlp.runs import learner
from tff_nlp.serving import export_text
from tff_nlp.tasks import language_model
from tff_nlp.tasks import task as tasks


@dataclasses.dataclass(frozen=True, eq=False)
class TextGenerator:
    """A language model of texts, before or after training.

    Attributes:
      model: The network as a pure function of its weights.
      task: What it is trained for; algorithms take this.
      max_tokens: Texts are cut to this many tokens.
      cache_dir: Where tokens of corpora are kept.
      seen: int64[vocabulary], how often each token stands in the training texts.
    """

    model: causal.CausalModel
    task: tasks.Task
    max_tokens: int
    cache_dir: pathlib.Path
    seen: np.ndarray

    @property
    def pad_id(self) -> int:
        """The id that pads batches."""
        return self.model.tokenizer.pad_id

    def tokens(self, corpus: Corpus) -> token_cache.TokenCache:
        """Returns the tokens of a corpus, from the cache where they have been made before."""
        return learner.tokenize(corpus, self.model.tokenizer, self.max_tokens, self.cache_dir)

    def targets(self, corpus: Corpus) -> np.ndarray:
        """Returns int32[examples] zeros: a text is its own target."""
        return np.zeros(len(corpus), np.int32)

    def evaluation_set(self, name: str, corpus: Corpus) -> language_model.TextSet:
        """Returns a corpus as what the model is scored on, with the unigram baseline.

        Args:
          name: What the set is called.
          corpus: The texts.
        """
        cache, rows, pad_id = self.tokens(corpus), np.arange(len(corpus)), self.pad_id
        found = _count(cache, self.model.vocabulary_size)
        return language_model.TextSet(
            name,
            len(corpus),
            lambda: batching.evaluation_batches(
                cache, rows, pad_id, batch_size=learner.EVALUATION_BATCH // 4
            ),
            next_token.unigram_perplexity(self.seen, found),
        )

    def generate(self, weights: Any, prompts: Sequence[str], **sampling: Any) -> list[str]:
        """Returns how texts go on.

        Args:
          weights: The weights, `trainable` and `non_trainable`.
          prompts: Their beginnings.
          **sampling: `max_new_tokens`, `top_p` (0 for the most probable token at each place),
            `temperature` and `seed`, see `models.generation.generate`.
        """
        settings = {"max_new_tokens": 50, **sampling}
        return list(
            generation.generate(
                self.model, weights.trainable, weights.non_trainable, list(prompts), **settings
            )
        )

    def export(self, weights: Any, folder: str | pathlib.Path) -> str:
        """Writes a SavedModel from strings to strings; returns its fingerprint."""
        return export_text.export(
            folder,
            self.model,
            [np.asarray(w) for w in weights.trainable],
            [np.asarray(w) for w in weights.non_trainable],
            max_new_tokens=min(50, self.model.max_tokens - 2),
        )


def build_language_model(
    corpus: Corpus,
    *,
    encoder: str = "random",
    trainable: str = "all",
    max_tokens: int = 64,
    seed: int = 0,
    cache_dir: str | pathlib.Path | None = None,
    **random_decoder: Any,
) -> TextGenerator:
    """Returns a causal language model for the texts of a corpus.

    Args:
      corpus: The training texts, with or without labels; "random" learns its byte pairs from them.
      encoder: "random", a Hugging Face GPT-2 folder, or a KerasNLP preset.
      trainable: What trains: "all", "no_embeddings", "top_2" and so on, or "biases".
      max_tokens: Longer texts are cut.
      seed: Seed of the initial weights.
      cache_dir: Where tokens are kept; None for tff_nlp below $XDG_CACHE_HOME or ~/.cache.
      **random_decoder: Sizes of "random", see `models.decoders.random`.

    Raises:
      UserError: Where an argument is not possible, or the model cannot be loaded.

    Example:
      ```
      plays = tff_nlp.read_corpus("input.txt", format="speeches", labelled=False, bad_rows="skip")
      model = tff_nlp.build_language_model(plays, layers=2, width=128, heads=2)
      ```
    """
    learner.prepare_libraries()
    if encoder == "random":
        decoder = decoders.random(corpus.texts, max_tokens=max_tokens, seed=seed, **random_decoder)
    else:
        decoder = decoders.load(encoder)
    model = causal.build(decoder, trainable=trainable)
    folder = learner.default_cache() if cache_dir is None else pathlib.Path(cache_dir)
    cache = learner.tokenize(corpus, model.tokenizer, max_tokens, folder)
    return TextGenerator(
        model=model,
        task=language_model.language_model(model),
        max_tokens=max_tokens,
        cache_dir=folder,
        seen=_count(cache, model.vocabulary_size),
    )


def _count(cache: token_cache.TokenCache, vocabulary_size: int) -> np.ndarray:
    return next_token.count_targets(cache.tokens, cache.offsets, vocabulary_size)
