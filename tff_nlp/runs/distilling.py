"""The algorithms of a run that distil, with their public texts in batches."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tff_nlp import seeds
from tff_nlp.clients import batching
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.learning import distillation, logit_rounds, optimizers
from tff_nlp.learning.algorithms import ds_fl, fed_df, fed_md
from tff_nlp.runs import configs, learner, learners, reporter, user_folders


@dataclasses.dataclass(frozen=True, eq=False)
class Public:
    """The public texts of a run, as its models read them.

    Attributes:
      texts: The texts as the server's model reads them.
      kinds: The kinds of clients, if their models differ from the server's; else empty.
    """

    texts: distillation.PublicTexts
    kinds: tuple[logit_rounds.Kind, ...] = ()


def client_models(
    run: configs.FederatedRun, corpus: Corpus, server: learner.Learner
) -> tuple[learner.Learner, ...]:
    """Returns the models of the clients. Client c has the one with the number c modulo theirs.

    Args:
      run: The configuration.
      corpus: The training texts.
      server: The model of the server, which is the only one without `client_encoders`.

    Raises:
      UserError: If an encoder cannot be loaded.
    """
    if not run.has_other_models:
        return (server,)
    found = []
    for number, config in enumerate(run.distillation.models(run.model)):
        model = server
        if config != run.model:
            model = learners.build(
                run.corpus.task,
                corpus,
                config,
                user_folders.cache_dir(run.place.cache_dir),
                seed=seeds.derive(run.rounds.seed, "client_encoders", number),
                logit_adjustment=run.federated.logit_adjustment,
            )
        reporter.say("model", [f"of client kind {number + 1}: {model.describe()}"])
        found.append(model)
    return tuple(found)


def public(
    run: configs.FederatedRun,
    server: learner.Learner,
    clients: Sequence[learner.Learner],
    corpus: Corpus | None,
) -> Public | None:
    """Returns the public texts in batches.

    Args:
      run: The configuration.
      server: The model of the server.
      clients: The models of the clients.
      corpus: The public texts; None if the run does not distil.
    """
    if corpus is None:
        return None
    read = functools.partial(
        in_batches, corpus=corpus, batch_size=run.client_training.batch_size, seed=run.rounds.seed
    )
    if not run.has_other_models:
        return Public(read(server))
    kinds = tuple(logit_rounds.Kind(model.task, read(model)) for model in clients)
    return Public(read(server), kinds)


def builders(
    run: configs.FederatedRun, optimizer: optimizers.ClientOptimizer, public: Public | None
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
    rate = flags.distillation_learning_rate or optimizer.learning_rate
    own = dataclasses.replace(optimizer, learning_rate=rate)
    settings: dict[str, Any] = {
        "public": public.texts,
        "learning": distillation.Distillation(own, flags.distillation_epochs),
    }
    of_outputs = {
        **settings,
        "kinds": public.kinds,
        "allow_dp_mismatch": run.privacy.allow_dp_mismatch,
    }
    sharpened = functools.partial(ds_fl.ds_fl, temperature=flags.dsfl_temperature)
    return {
        "feddf": functools.partial(fed_df.fed_df, **settings),
        "fedmd": _without_server_steps(functools.partial(fed_md.fed_md, **of_outputs)),
        "dsfl": _without_server_steps(functools.partial(sharpened, **of_outputs)),
    }


def in_batches(
    model: learner.Learner, corpus: Corpus, *, batch_size: int = 32, seed: int = 0
) -> distillation.PublicTexts:
    """Returns public texts in batches of similar length, in a random order of the batches.

    Args:
      model: The model, with its tokenizer.
      corpus: The public texts, with labels or without.
      batch_size: Maximum number of texts in a batch.
      seed: Seed of the order.
    """
    found = list(
        batching.evaluation_batches(
            model.tokens(corpus),
            np.arange(len(corpus)),
            model.model.tokenizer.pad_id,
            batch_size=batch_size,
        )
    )
    order = seeds.generator(seed, "public_batches").permutation(len(found))
    tokens, positions = zip(*(found[place] for place in order), strict=True)
    return distillation.PublicTexts(tokens, positions)


def _without_server_steps(build: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function without the server's optimizer, which these algorithms do not have."""

    def build_process(*arguments: Any, server_optimizer: Any, **others: Any) -> Any:
        del server_optimizer
        return build(*arguments, **others)

    return build_process
