"""What one domain reaches without the others: the same rounds with its own clients only.

This is --alone. Process, initial weights, rounds, cohort sizes and the number of local steps are
those of the federated run, so that the two differ in nothing but the texts.
"""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments import checks, data, flag_groups, privacy_flags
from tff_nlp import seeds
from tff_nlp.clients import author_partitions, cohorts, splits
from tff_nlp.clients.partition import Partition
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.program import configuration, run_directory

if TYPE_CHECKING:
    from experiments.federated_run import FederatedRun
    from tff_nlp.clients.client_data import TokenClientData
    from tff_nlp.program.training import TrainingProgram
    from tff_nlp.tasks.classification_scores import Scores


@dataclasses.dataclass(frozen=True)
class Alone:
    """What a domain reached without the others.

    Attributes:
      domain: Name of the domain.
      test: Scores on the test corpus, of all domains.
    """

    domain: str
    test: "Scores"


def clients(run: "FederatedRun", corpus: Corpus, split: splits.ClientSplits) -> np.ndarray | None:
    """Returns int64[clients], the positions of the training clients of the domain of --alone.

    Args:
      run: The flags.
      corpus: The training corpus.
      split: Who holds what.

    Returns:
      The positions; None without --alone.

    Raises:
      UserError: If the domain cannot train alone in this run.
    """
    domain = run.clients.alone
    if not domain:
        return None
    if run.clients.partition != "domains":
        checks.refuse("alone", domain, "needs --partition=domains")
    if run.privacy.dp != privacy_flags.NONE:
        why = f"--dp={run.privacy.dp} accounts for one training only, not for a second one"
        checks.refuse("alone", domain, why)
    known = sorted(set(corpus.authors or ()))
    if domain not in known:
        checks.refuse("alone", domain, f"is no domain of {corpus.name}: {', '.join(known[:20])}")
    found = author_partitions.clients_of_domain(split.train, corpus, domain)
    if len(found) < run.clients.clients_per_round:
        checks.refuse(
            "alone",
            domain,
            f"has {len(found)} training clients, fewer than --clients_per_round="
            f"{run.clients.clients_per_round}; a larger --clients_per_domain gives it more",
        )
    return found


def local_steps(program: "TrainingProgram", run: "FederatedRun", train: Partition) -> int:
    """Returns how many batches a client takes alone: the mean of the clients of the federated run.

    Clients that train for epochs take more steps the more examples they hold, and domains differ in
    the size of their clients.

    Args:
      program: The federated program.
      run: The flags.
      train: The training clients.
    """
    if run.federated.local_steps is not None:
        return run.federated.local_steps
    taken = [
        -(-int(train.sizes[client]) // run.client_training.batch_size) * run.federated.client_epochs
        for number in range(program.rounds)
        for client in program.cohort(number)
    ]
    return max(1, round(sum(taken) / max(1, len(taken))))


def train(
    program: "TrainingProgram",
    run: "FederatedRun",
    members: np.ndarray,
    population: "TokenClientData",
    directory: run_directory.RunDirectory,
    config: Mapping[str, Any],
) -> Alone:
    """Trains the domain's clients alone, or goes on with that after a stop.

    Args:
      program: The federated program.
      run: The flags.
      members: int64[clients], as `clients` gives them.
      population: All training clients, with batches as `local_steps` counts them.
      directory: The run's folder.
      config: The whole configuration of the run.

    Raises:
      RunError: If training fails.
    """
    from tff_nlp.learning import client_input  # Mistakes are found before TensorFlow is loaded.

    domain = run.clients.alone
    data.say("alone", [f"as many rounds and local steps with clients of {domain} only"])
    draw = cohorts.sampler(
        run.clients.sampling,
        seeds.derive(run.rounds.seed, "alone"),
        len(members),
        run.clients.clients_per_round,
    )
    seed = run.rounds.seed

    def brought(client: int, number: int, state: Any = None) -> Any:
        batches = population.round_dataset(client, seeds.derive(seed, "client_order", number))
        return client_input.with_values(batches, state=state)

    restricted = dataclasses.replace(
        program,
        cohort=lambda number: members[draw(number)],
        client=brought,
        evaluation_sets=[s for s in program.evaluation_sets if s.name == "test"],
        eval_every=program.rounds,
    )
    rules = configuration.Rules(
        described=flag_groups.record(run.corpus), growing={"rounds": run.why_not_longer()}
    )
    with run_directory.RunDirectory(directory.path / run_directory.ALONE, config, rules) as own:
        own.begin()
        return Alone(domain, restricted.run(own).scores["test"])
