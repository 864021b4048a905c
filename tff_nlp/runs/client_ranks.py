"""Clients of a run whose low-rank factors have different ranks (`lora_client_ranks`)."""

import numpy as np

from tff_nlp import seeds
from tff_nlp.execution import ledger
from tff_nlp.learning import mixed_ranks
from tff_nlp.models.adapters import names
from tff_nlp.runs import configs
from tff_nlp.tasks import task as tasks


def of_run(run: configs.FederatedRun, trained: tasks.Task) -> mixed_ranks.MixedRanks | None:
    """Returns the factors of which clients train a part; None if all ranks are equal."""
    if not _has_ranks(run):
        return None
    return mixed_ranks.MixedRanks(tuple(trained.factors), run.model.lora_rank)


def drawn(run: configs.FederatedRun, clients: int) -> np.ndarray | None:
    """Returns the rank of each client, int32[clients]; None if all ranks are equal.

    Each rank has the same share of clients. Which client has which one depends on the run's seed.
    """
    if not _has_ranks(run):
        return None
    repeated = np.resize(np.array(run.model.parsed_client_ranks(), np.int32), clients)
    return seeds.generator(run.rounds.seed, "client_ranks").permutation(repeated)


def sent(
    run: configs.FederatedRun, trained: tasks.Task, clients: int, largest: ledger.ByteLedger
) -> ledger.ByteLedger:
    """Returns the bytes of a client in a round, as the mean over clients of all ranks.

    Args:
      run: The configuration.
      trained: The task.
      clients: Number of clients.
      largest: The bytes of a client with the largest rank.
    """
    ranks = drawn(run, clients)
    if ranks is None:
        return largest
    specs = trained.weight_specs()[0]
    numbers = sum(specs[p].shape.num_elements() for f in trained.factors for p in (f.a, f.b))
    # What is beyond a client's rank is zero, and is not sent.
    zeros = round(4 * numbers * (1 - float(ranks.mean()) / run.model.lora_rank))
    return largest.without("up", "update", zeros).without("down", "weights", zeros)


def _has_ranks(run: configs.FederatedRun) -> bool:
    return run.model.adapter == names.LORA and bool(run.model.parsed_client_ranks())
