"""From the flags of differential privacy to what a run promises, before any training.

Imports no TensorFlow: what cannot hold is told within seconds.
"""

import dataclasses
import math
from collections import Counter
from typing import TYPE_CHECKING

from experiments import checks, privacy_flags
from tff_nlp import errors
from tff_nlp.clients import batching, cohorts, partition
from tff_nlp.privacy import (
    accounting,
    adaptive_clipping,
    contract,
    dp_ftrl,
    example_level,
    guarantee,
    signal,
)
from tff_nlp.privacy.noise_secret import NoiseSecret

if TYPE_CHECKING:
    from experiments.federated_run import FederatedRun


@dataclasses.dataclass(frozen=True)
class PrivacyPlan:
    """What a run promises.

    Attributes:
      guarantee: With the noise that the run is going to have.
      rounds: How many rounds the target allows, at most those asked for.
      lines: What to tell before training.
    """

    guarantee: guarantee.Guarantee | example_level.ExampleGuarantee
    rounds: int
    lines: tuple[str, ...]


def resolve(run: "FederatedRun") -> "FederatedRun":
    """Returns the run with what was left open filled in, as mechanism and algorithm need it."""
    dp = run.privacy.dp
    sampling, weighting = run.clients.sampling, run.federated.weighting
    if sampling == "auto":
        sampling = guarantee.SAMPLINGS.get(dp, (guarantee.FIXED,))[0]
        if run.privacy.adjacency == "replace_one":
            sampling = guarantee.FIXED
    if weighting == "auto":
        weighting = "examples" if dp == privacy_flags.NONE else "uniform"
    return dataclasses.replace(
        run,
        clients=dataclasses.replace(run.clients, sampling=sampling),
        federated=dataclasses.replace(run.federated, weighting=weighting),
        client_training=run.client_training.resolved(run.federated.algorithm),
    )


def plan(run: "FederatedRun", train: partition.Partition) -> PrivacyPlan:
    """Returns what a run with differential privacy promises.

    Args:
      run: As `resolve` gives it.
      train: The clients that train.

    Raises:
      UserError: If a flag is out of range, no noise keeps the target, or the run departs from what
        its accountant assumes and --allow_dp_mismatch is not set.
    """
    found = contract.algorithm_violation(run.federated.algorithm)
    if found:
        raise errors.UserError(found)
    replace_one = run.privacy.adjacency == "replace_one" or run.privacy.dp == guarantee.DISTRIBUTED
    violations = contract.violations(
        contract.Conduct(
            mechanism=run.privacy.dp,
            sampling=run.clients.sampling,
            replace_one=replace_one,
            weighting=run.federated.weighting,
            max_failed_clients=run.execution.max_failed_clients,
            logit_adjustment=run.federated.logit_adjustment,
        )
    )
    if violations and not run.privacy.allow_dp_mismatch:
        raise errors.UserError(f"{violations[0]}; or --allow_dp_mismatch to train without it")
    if run.privacy.noise_seed is not None:
        violations += (f"{contract.REPEATABLE} (--noise_seed={run.privacy.noise_seed})",)
    if run.clients.clients_per_round > train.num_clients:
        checks.refuse(
            "clients_per_round",
            run.clients.clients_per_round,
            f"there are only {train.num_clients} clients",
        )
    if run.privacy.dp == guarantee.EXAMPLE_LEVEL:
        return _plan_examples(run, train, violations)
    return _plan_clients(run, train.num_clients + run.privacy.audit_canaries, violations)


def cohort_seed(sampling: str, dp: str, seed: int, secret: NoiseSecret | None) -> int:
    """Returns what cohorts are drawn from.

    Where an epsilon counts on nobody knowing who was drawn, that is the secret of the noise: a
    run's seed can be guessed.

    Args:
      sampling: How cohorts are drawn.
      dp: The mechanism.
      seed: The run's seed.
      secret: What the noise derives from; None without privacy.
    """
    amplified = dp in guarantee.CLIENT_LEVEL and sampling != guarantee.CYCLIC
    if secret is None or secret.repeatable or not amplified:
        return seed
    return secret.seed("cohorts")


def _plan_clients(run: "FederatedRun", population: int, violations: tuple[str, ...]) -> PrivacyPlan:
    flags, cohort = run.privacy, run.clients.clients_per_round
    delta = accounting.default_delta(population) if flags.delta is None else flags.delta
    accounting.check_delta(delta, population)
    is_tree = flags.dp == guarantee.TREE_AGGREGATION
    promised = guarantee.Guarantee(
        mechanism=flags.dp,
        population=population,
        clients_per_round=cohort,
        sampling=run.clients.sampling,
        noise_multiplier=flags.noise_multiplier or 0.0,
        delta=delta,
        accountant=flags.accountant,
        participation=_participation(run, population) if is_tree else None,
        restart_every=flags.restart_every,
        violations=violations,
    )
    rounds = run.rounds.rounds
    if flags.target_epsilon is not None:
        if flags.noise_multiplier is None:
            promised = promised.with_noise_for(flags.target_epsilon, rounds)
        rounds = promised.most_rounds(flags.target_epsilon, rounds)
    if flags.dp == guarantee.ADAPTIVE_CLIPPING:
        stddev = flags.clipped_count_stddev
        adaptive_clipping.split_noise(promised.noise_multiplier, cohort, stddev)
    whose = f"client of {population:,}"
    lines = [
        _describe_noise(run, promised),
        *_describe_end(run, promised, rounds, promised.epsilon(rounds), whose),
    ]
    return PrivacyPlan(promised, rounds, tuple(lines))


def _plan_examples(
    run: "FederatedRun", train: partition.Partition, violations: tuple[str, ...]
) -> PrivacyPlan:
    flags, batch_size = run.privacy, run.client_training.batch_size
    largest = int(train.sizes.max())
    delta = accounting.default_delta(largest) if flags.delta is None else flags.delta
    accounting.check_delta(delta, largest, "example")
    epochs, local_steps = run.federated.client_epochs, run.federated.local_steps
    silos = [
        example_level.Silo(
            name,
            size,
            batching.poisson_rate(size, batch_size),
            batching.poisson_steps(size, batch_size, epochs, local_steps),
        )
        for name, size in zip(train.client_ids, train.sizes.tolist(), strict=True)
    ]
    promised = example_level.ExampleGuarantee(
        silos=tuple(silos),
        noise_multiplier=flags.noise_multiplier or 0.0,
        delta=delta,
        accountant=flags.accountant,
        violations=violations,
    )
    cohort = cohorts.sampler(
        run.clients.sampling, run.rounds.seed, train.num_clients, run.clients.clients_per_round
    )
    # After each round, in how many each silo has taken part.
    taken: list[Counter[str]] = [Counter()]
    for number in range(run.rounds.rounds):
        taken.append(taken[-1] + Counter(train.client_ids[int(c)] for c in cohort(number)))
    rounds, target = run.rounds.rounds, flags.target_epsilon
    if target is not None:
        if flags.noise_multiplier is None:
            promised = promised.with_noise_for(target, taken[-1])
        while rounds and promised.largest_epsilon(taken[rounds]) > target:
            rounds -= 1
        if not rounds:
            checks.refuse("target_epsilon", target, "exceeded after one round already")
    epsilon = promised.largest_epsilon(taken[rounds])
    lines = [
        f"{flags.dp}, noise multiplier {promised.noise_multiplier:.4g}, each example's gradient "
        f"clipped to {flags.clipping_norm:g}, batches of {batch_size} expected",
        *_describe_end(run, promised, rounds, epsilon, "example of the client that loses most"),
    ]
    return PrivacyPlan(promised, rounds, tuple(lines))


def _participation(run: "FederatedRun", population: int) -> dp_ftrl.Participation:
    """Returns what cycling through the clients enforces, checked against what was asked for."""
    flags, rounds = run.privacy, run.rounds.rounds
    period = population // run.clients.clients_per_round
    most, apart = math.ceil(rounds / period), period - 1
    if flags.max_participations is not None and most > flags.max_participations:
        checks.refuse(
            "max_participations",
            flags.max_participations,
            f"{rounds} rounds of {run.clients.clients_per_round} among {population} clients need "
            f"{most} of each; lower --rounds or --clients_per_round",
        )
    if flags.min_separation is not None and apart < flags.min_separation:
        checks.refuse(
            "min_separation",
            flags.min_separation,
            f"{run.clients.clients_per_round} of {population} clients in a round leave {apart} "
            "rounds in between; lower --clients_per_round",
        )
    return dp_ftrl.Participation(most, apart)


def _describe_noise(run: "FederatedRun", promised: guarantee.Guarantee) -> str:
    flags, noise = run.privacy, promised.noise_multiplier
    described = f"{flags.dp}, noise multiplier {noise:.4g}, clipping norm {flags.clipping_norm:g}"
    if promised.participation is not None:
        bound = promised.participation
        return (
            f"{described}; each client in at most {bound.max_participations} rounds, with at least "
            f"{bound.min_separation} between two"
        )
    on_mean = signal.noise_on_mean(noise, flags.clipping_norm, promised.clients_per_round)
    return f"{described}, noise on each coordinate of the mean {on_mean:.3g}"


def _describe_end(
    run: "FederatedRun",
    promised: guarantee.Guarantee | example_level.ExampleGuarantee,
    rounds: int,
    epsilon: float,
    whose: str,
) -> list[str]:
    lines = []
    if rounds < run.rounds.rounds:
        lines.append(
            f"--target_epsilon={run.privacy.target_epsilon:g} ends training after {rounds} of "
            f"{run.rounds.rounds} rounds"
        )
    if promised.violations:
        return [*lines, *(f"no guarantee: {sentence}" for sentence in promised.violations)]
    if math.isinf(epsilon):
        return [*lines, "no guarantee: epsilon is infinite without noise"]
    return [
        *lines,
        f"after {rounds} rounds epsilon {epsilon:.4g} ({promised.accountant}) at delta "
        f"{promised.delta:.3g} for one {whose}",
    ]
