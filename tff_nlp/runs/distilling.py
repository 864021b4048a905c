"""The algorithms of a run that distil, with their public texts in batches."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tff_nlp import seeds
from tff_nlp.clients import batching
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.learning import distillation, optimizers
from tff_nlp.learning.algorithms import ds_fl, fed_df, fed_md
from tff_nlp.runs import configs, learner


def builders(
    run: configs.FederatedRun,
    optimizer: optimizers.ClientOptimizer,
    public: distillation.PublicTexts | None,
) -> Mapping[str, Callable[..., Any]]:
    """Returns the functions that build the processes, by the name of the algorithm.

    Args:
      run: The configuration.
      optimizer: The optimizer of a client, which also distils.
      public: The public texts; None if the run does not distil.
    """
    if public is None:
        return {}
    flags = run.distillation
    settings: dict[str, Any] = {
        "public": public,
        "learning": distillation.Distillation(
            _with_rate(optimizer, flags.distillation_learning_rate), flags.distillation_epochs
        ),
    }
    of_outputs = {**settings, "allow_dp_mismatch": run.privacy.allow_dp_mismatch}
    sharpened = functools.partial(ds_fl.ds_fl, temperature=flags.dsfl_temperature)
    return {
        "feddf": functools.partial(fed_df.fed_df, **settings),
        "fedmd": _without_server_steps(functools.partial(fed_md.fed_md, **of_outputs)),
        "dsfl": _without_server_steps(functools.partial(sharpened, **of_outputs)),
    }


def in_batches(
    run: configs.FederatedRun, model: learner.Learner, corpus: Corpus | None
) -> distillation.PublicTexts | None:
    """Returns public texts in batches of similar length, in a random order of the batches.

    Args:
      run: The configuration.
      model: The model, with its tokenizer.
      corpus: The public texts; None if the run does not distil.
    """
    if corpus is None:
        return None
    found = list(
        batching.evaluation_batches(
            model.tokens(corpus),
            np.arange(len(corpus)),
            model.model.tokenizer.pad_id,
            batch_size=run.client_training.batch_size,
        )
    )
    order = seeds.generator(run.rounds.seed, "public_batches").permutation(len(found))
    tokens, positions = zip(*(found[place] for place in order), strict=True)
    return distillation.PublicTexts(tokens, positions)


def _with_rate(
    optimizer: optimizers.ClientOptimizer, rate: float | None
) -> optimizers.ClientOptimizer:
    return optimizer if rate is None else dataclasses.replace(optimizer, learning_rate=rate)


def _without_server_steps(build: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function without the server's optimizer, which these algorithms do not have."""

    def build_process(*arguments: Any, server_optimizer: Any, **others: Any) -> Any:
        del server_optimizer
        return build(*arguments, **others)

    return build_process
