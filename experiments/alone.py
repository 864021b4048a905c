"""What one domain reaches without the others: the same rounds with its own clients only.

This is --alone. Process, initial weights, cohort sizes and local steps are those of the federated
run, so that the two differ in nothing but the texts.
"""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments import checks, flag_groups, privacy_flags
from tff_nlp import seeds
from tff_nlp.clients import author_partitions, cohorts, splits
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.program import configuration, run_directory

if TYPE_CHECKING:
    from experiments.federated_run import FederatedRun
    from tff_nlp.program.evaluation import Scores
    from tff_nlp.program.training import TrainingProgram


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


def train(
    program: "TrainingProgram",
    run: "FederatedRun",
    members: np.ndarray,
    directory: run_directory.RunDirectory,
    config: Mapping[str, Any],
) -> Alone:
    """Trains the domain's clients alone, or goes on with that after a stop.

    Args:
      program: The federated program.
      run: The flags.
      members: int64[clients], as `clients` gives them.
      directory: The run's folder.
      config: The whole configuration of the run.

    Raises:
      RunError: If training fails.
    """
    draw = cohorts.sampler(
        run.clients.sampling,
        seeds.derive(run.rounds.seed, "alone"),
        len(members),
        run.clients.clients_per_round,
    )
    restricted = dataclasses.replace(
        program,
        cohort=lambda number: members[draw(number)],
        evaluation_sets=[s for s in program.evaluation_sets if s.name == "test"],
        eval_every=program.rounds,
    )
    rules = configuration.Rules(
        described=flag_groups.record(run.corpus), growing={"rounds": run.why_not_longer()}
    )
    with run_directory.RunDirectory(directory.path / run_directory.ALONE, config, rules) as own:
        own.begin()
        return Alone(run.clients.alone, restricted.run(own).scores["test"])
