"""Builds the model of a run."""

import pathlib

from tff_nlp.corpora.corpus import Corpus
from tff_nlp.runs import learner, text_classifier, text_generator
from tff_nlp.runs.configs.model import ModelConfig
from tff_nlp.runs.configs.task_names import LANGUAGE_MODEL


def build(
    task: str,
    corpus: Corpus,
    config: ModelConfig,
    cache_dir: pathlib.Path,
    *,
    seed: int,
    logit_adjustment: float = 0.0,
) -> learner.Learner:
    """Returns the model that a run trains.

    Args:
      task: Name of the task.
      corpus: The training texts. The task "pairs" needs second texts.
      config: The resolved config of the model.
      cache_dir: Folder of the token caches.
      seed: Seed of the initial weights.
      logit_adjustment: Logit adjustment of a classifier, see `text_classifier.build_classifier`.

    Raises:
      UserError: If the model cannot be loaded, or an option is not possible for it.
    """
    if task == LANGUAGE_MODEL:
        return text_generator.build(corpus, config, cache_dir, seed=seed)
    return text_classifier.build(
        corpus, config, cache_dir, logit_adjustment=logit_adjustment, seed=seed
    )
