"""The interface between training and a text model, for all tasks."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from tff_nlp import silence_libraries
from tff_nlp.clients import batching, token_cache
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.errors import UserError
from tff_nlp.execution import streaming
from tff_nlp.runs import keras_objectives, pages, token_report
from tff_nlp.runs.configs.model import ModelConfig
from tff_nlp.runs.configs.unused import without_effect
from tff_nlp.tasks import prediction
from tff_nlp.tasks import task as tasks


class Learner(Protocol):
    """A text model and its task."""

    @property
    def model(self) -> Any:
        """The network as a pure function of its weights. It has a `tokenizer`."""

    @property
    def task(self) -> tasks.Task:
        """The task, the argument of algorithms."""

    def tokens(self, corpus: Corpus) -> token_cache.TokenCache:
        """Returns the tokens of a corpus."""

    def report_tokens(self, corpus: Corpus) -> token_report.TokenReport:
        """Returns what the tokenizer leaves out of a corpus."""

    def targets(self, corpus: Corpus) -> np.ndarray:
        """Returns the target of each text, int32[examples]."""

    def keras_objective(self) -> keras_objectives.Objective:
        """Returns the loss and the metrics of the task for plain Keras."""

    def evaluation_set(
        self,
        name: str,
        corpus: Corpus,
        *,
        rows: np.ndarray | None = None,
        clients: np.ndarray | None = None,
        domains: Sequence[str] | None = None,
    ) -> Any:
        """Returns an evaluation set of rows of a corpus.

        Args:
          name: Name of the set.
          corpus: The texts.
          rows: int64[n], the rows; None for all rows.
          clients: int64[n], the number of the client that holds each row; None for no scores by
            client.
          domains: The domain of each row; None for no scores by domain.
        """

    def describe(self) -> str:
        """Returns a readable description of the model, one sentence."""

    def describe_scores(self, scores: Any) -> dict[str, Any]:
        """Returns the entry of result.json for the scores on the test set."""

    def export(
        self,
        weights: Any,
        folder: str | pathlib.Path,
        *,
        strip_prefix: str = "",
        info: Mapping[str, Any] | None = None,
    ) -> str:
        """Writes a SavedModel that takes raw strings, and returns its fingerprint.

        Args:
          weights: The weights, `trainable` and `non_trainable`.
          folder: Folder of the SavedModel. An older export in it is replaced.
          strip_prefix: Prefix that a classifier removes from texts. Language models ignore it.
          info: Additional entries of the info file.
        """

    def draw(self, scores: Any, folder: pathlib.Path, title: str) -> Sequence[str]:
        """Draws additional pictures for the task, and returns their names.

        Args:
          scores: The scores on the test set.
          folder: Folder of the pictures.
          title: Title of the pictures.
        """

    def show_texts(self, scores: Any, corpus: Corpus) -> Mapping[str, pages.Table]:
        """Returns tables of single texts with their predictions, by heading.

        Args:
          scores: The scores on the corpus.
          corpus: The texts.
        """


def prepare_libraries() -> None:
    """Sets the threads of TensorFlow, unless it has started, and imports KerasNLP silently."""
    streaming.configure_threads(warn=False)
    silence_libraries.import_keras_nlp()


def model_config(task: str, options: Mapping[str, Any]) -> ModelConfig:
    """Returns the config of a model from the options of a caller.

    Args:
      task: Name of the task.
      options: Values of options, by name.

    Raises:
      UserError: If an option does not exist, has a wrong value, or has no effect.
    """
    names = [field.name for field in dataclasses.fields(ModelConfig)]
    for name in options:
        if name not in names:
            raise UserError(f"{name}: there is no such option; the options are {', '.join(names)}")
    config = ModelConfig(**options).resolved(task)
    for sentence in without_effect(config):
        raise UserError(sentence)
    return config


@dataclasses.dataclass(frozen=True, eq=False)
class TokenStore:
    """Opens the token cache of each corpus once.

    Attributes:
      tokenizer: The tokenizer, with `encode`, `fingerprint` and `vocabulary`.
      max_tokens: Maximum number of tokens of a text. Longer texts are cut.
      cache_dir: Folder of the token caches.
      pairs: Whether the model reads pairs of texts.
    """

    tokenizer: Any
    max_tokens: int
    cache_dir: pathlib.Path
    pairs: bool = False
    _opened: dict[str, token_cache.TokenCache] = dataclasses.field(
        default_factory=dict, init=False, repr=False
    )

    def tokens(self, corpus: Corpus) -> token_cache.TokenCache:
        """Returns the tokens of a corpus.

        Raises:
          UserError: If the corpus has pairs of texts and the model reads single texts, or the
            opposite.
        """
        if corpus.has_pairs != self.pairs:
            held, read = ("single texts", "pairs of texts")[:: 1 if self.pairs else -1]
            raise UserError(
                f"`second_text_column`: {corpus.name} has {held}, but the model reads {read}"
            )
        if corpus.fingerprint not in self._opened:
            self._opened[corpus.fingerprint] = token_cache.open_token_cache(
                self.cache_dir,
                corpus,
                self.tokenizer.encode,
                tokenizer_fingerprint=self.tokenizer.fingerprint,
                vocabulary_size=len(self.tokenizer.vocabulary),
                max_tokens=self.max_tokens,
            )
        return self._opened[corpus.fingerprint]


def batches(
    cache: token_cache.TokenCache, rows: np.ndarray, pad_id: int, batch_size: int
) -> prediction.Batches:
    """Returns a function that yields the batches of some rows. Each call starts from the first."""
    return lambda: batching.evaluation_batches(cache, rows, pad_id, batch_size=batch_size)
