"""What training asks of a model of texts, whatever it is trained for."""

import os
import pathlib
from typing import Any, Protocol

import numpy as np

from tff_nlp import silence_libraries
from tff_nlp.clients import token_cache
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.errors import UserError
from tff_nlp.execution import streaming
from tff_nlp.tasks import task as tasks

EVALUATION_BATCH = 128


class Learner(Protocol):
    """A model of texts and what it is trained for."""

    @property
    def model(self) -> Any:
        """The network as a pure function of its weights; it has a `tokenizer`."""

    @property
    def task(self) -> tasks.Task:
        """What it is trained for; algorithms take this."""

    def tokens(self, corpus: Corpus) -> token_cache.TokenCache:
        """Returns the tokens of a corpus."""

    def targets(self, corpus: Corpus) -> np.ndarray:
        """Returns int32[examples], what stands beside each text in a batch."""

    def evaluation_set(self, name: str, corpus: Corpus) -> Any:
        """Returns a corpus as what the model is scored on."""


def prepare_libraries() -> None:
    """Sets TensorFlow's threads, if it has not run yet, and imports KerasNLP without its words."""
    streaming.configure_threads(warn=False)
    silence_libraries.import_keras_nlp()


def tokenize(
    corpus: Corpus, tokenizer: Any, max_tokens: int, cache_dir: pathlib.Path
) -> token_cache.TokenCache:
    """Returns the tokens of a corpus, from the cache where they have been made before.

    Args:
      corpus: The texts.
      tokenizer: Has `encode`, `fingerprint` and `vocabulary`.
      max_tokens: Texts are cut to this many tokens.
      cache_dir: Where tokens are kept.
    """
    return token_cache.open_token_cache(
        cache_dir,
        corpus,
        tokenizer.encode,
        tokenizer_fingerprint=tokenizer.fingerprint,
        vocabulary_size=len(tokenizer.vocabulary),
        max_tokens=max_tokens,
    )


def default_cache() -> pathlib.Path:
    """Returns the folder of caches that all runs of a user share.

    Raises:
      UserError: If the user has no home directory.
    """
    base = pathlib.Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        try:
            base = pathlib.Path.home() / ".cache"
        except RuntimeError as error:
            raise UserError("cache_dir: must be given: there is no home directory") from error
    return base / "tff_nlp"
