"""`alone`: trains one domain without the others, to compare the scores.

The process, the initial weights, the number of rounds, the cohort size and the number of local
steps are those of the federated run. Only the texts are different.
"""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tff_nlp import errors, seeds
from tff_nlp.clients import author_partitions, cohorts, splits
from tff_nlp.clients.partition import Partition
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.privacy import names
from tff_nlp.program import configuration, run_directory
from tff_nlp.runs import checks, configs, options, reporter

if TYPE_CHECKING:
    from tff_nlp.clients.client_data import TokenClientData
    from tff_nlp.program.training import TrainingProgram
    from tff_nlp.tasks.classification_scores import Scores


@dataclasses.dataclass(frozen=True)
class Alone:
    """The result of a domain that trained without the others.

    Attributes:
      domain: Name of the domain.
      test: Scores on the whole test corpus, with all domains.
    """

    domain: str
    test: "Scores"


def clients(
    run: configs.FederatedRun, corpus: Corpus, split: splits.ClientSplits
) -> np.ndarray | None:
    """Returns the training clients of the domain of `alone`.

    Args:
      run: The configuration.
      corpus: The training corpus.
      split: The training clients and the other splits.

    Returns:
      The positions of the clients, int64[clients]; None without `alone`.

    Raises:
      UserError: If the domain cannot train alone in this run.
    """
    domain = run.clients.alone
    if not domain:
        return None
    if run.clients.partition != "domains":
        checks.refuse("alone", domain, "needs `partition`=domains")
    if run.privacy.dp != names.NONE:
        why = f"`dp`={run.privacy.dp} accounts for one training only, not for a second one"
        checks.refuse("alone", domain, why)
    domains = sorted(set(corpus.authors or ()))
    if domain not in domains:
        checks.refuse("alone", domain, f"is no domain of {corpus.name}: {', '.join(domains[:20])}")
    members = author_partitions.clients_of_domain(split.train, corpus, domain)
    if len(members) < run.clients.clients_per_round:
        checks.refuse(
            "alone",
            domain,
            f"has {len(members)} training clients, fewer than `clients_per_round`="
            f"{run.clients.clients_per_round}; a larger `clients_per_domain` gives it more",
        )
    return members


def local_steps(program: "TrainingProgram", run: configs.FederatedRun, train: Partition) -> int:
    """Returns the number of local steps for `alone`: the mean of the federated run.

    The number of steps in an epoch depends on the number of examples of a client, and the clients
    of different domains have different sizes.

    Args:
      program: The federated program.
      run: The configuration.
      train: The training clients.
    """
    if run.federated.local_steps is not None:
        return run.federated.local_steps
    steps = [
        -(-int(train.sizes[client]) // run.client_training.batch_size) * run.federated.client_epochs
        for number in range(program.rounds)
        for client in program.cohort(number)
    ]
    return max(1, round(sum(steps) / max(1, len(steps))))


def train(
    program: "TrainingProgram",
    run: configs.FederatedRun,
    members: np.ndarray,
    population: "TokenClientData",
    directory: run_directory.RunDirectory,
    config: Mapping[str, Any],
) -> Alone:
    """Trains the domain's clients alone. A training that was stopped continues.

    Args:
      program: The federated program.
      run: The configuration.
      members: int64[clients], the result of `clients`.
      population: All training clients, with the number of local steps from `local_steps`.
      directory: Directory of the run.
      config: The recorded configuration of the run.

    Raises:
      RunError: If training fails.
    """
    # Imported here, so that mistakes are found before TensorFlow is loaded.
    from tff_nlp.learning import client_input

    domain = run.clients.alone
    reporter.say(
        "alone",
        [
            f"the same number of rounds and local steps with clients of {errors.verbatim(domain)} "
            "only"
        ],
    )
    draw = cohorts.sampler(
        run.clients.sampling,
        seeds.derive(run.rounds.seed, "alone"),
        len(members),
        run.clients.clients_per_round,
    )
    seed = run.rounds.seed

    def client_data(client: int, number: int, state: Any = None) -> Any:
        batches = population.round_dataset(client, seeds.derive(seed, "client_order", number))
        return client_input.with_values(batches, state=state)

    restricted = dataclasses.replace(
        program,
        cohort=lambda number: members[draw(number)],
        client=client_data,
        evaluation_sets=[s for s in program.evaluation_sets if s.name == "test"],
        eval_every=program.rounds,
    )
    rules = configuration.Rules(
        described=options.record(run.corpus), growing={"rounds": run.why_not_longer()}
    )
    with run_directory.RunDirectory(directory.path / run_directory.ALONE, config, rules) as own:
        own.begin()
        return Alone(domain, restricted.run(own).scores["test"])
