"""Computes the guarantee of a run from its configuration, before training.

This file imports no TensorFlow, so that mistakes are found within seconds.
"""

import dataclasses
import math
from collections import Counter

import dp_accounting as dpa

from tff_nlp.clients import batching, cohorts, partition
from tff_nlp.privacy import (
    accounting,
    adaptive_clipping,
    contract,
    contract_terms,
    dp_ftrl,
    example_level,
    guarantee,
    names,
    signal,
)
from tff_nlp.runs import checks, configs


@dataclasses.dataclass(frozen=True)
class PrivacyPlan:
    """The guarantee of a run with differential privacy.

    Attributes:
      guarantee: The guarantee, with the noise multiplier of the run.
      rounds: Number of rounds that `target_epsilon` allows, at most `rounds`.
      lines: Lines to print before training, as marked texts (`errors`).
      events: All rounds as one event, for each kind of unit: clients that sample at other rates.
      adjacency: Relation that its noise multipliers refer to.
    """

    guarantee: guarantee.Guarantee | example_level.ExampleGuarantee
    rounds: int
    lines: tuple[str, ...]
    events: tuple[dpa.DpEvent, ...]
    adjacency: dpa.NeighboringRelation


def resolve(run: configs.FederatedRun) -> configs.FederatedRun:
    """Returns the configuration with all "auto" values and defaults filled in."""
    dp = run.privacy.dp
    sampling, weighting = run.clients.sampling, run.federated.weighting
    if sampling == "auto":
        sampling = contract.sampling_for(dp, run.privacy.adjacency)
    if weighting == "auto":
        # The papers of the algorithms that send outputs weight clients uniformly, too.
        uniform = (
            dp != names.NONE
            or run.compares_updates
            or run.federated.algorithm == "fedbuff"
            or run.federated.algorithm in contract_terms.SENDS_OUTPUTS
        )
        weighting = "uniform" if uniform else "examples"
    personalization = run.personalization.resolved(
        run.process, run.clients, other_models=run.has_other_models
    )
    clients = personalization.with_validation(run.clients)
    return dataclasses.replace(
        run,
        clients=dataclasses.replace(clients, sampling=sampling),
        federated=dataclasses.replace(run.federated, weighting=weighting),
        client_training=run.client_training.resolved(
            run.federated.algorithm, has_adapter=run.model.has_adapter
        ),
        model=run.model.resolved(run.corpus.task),
        personalization=personalization,
        devices=run.devices.resolved(run.federated.algorithm),
    )


def plan(
    run: configs.FederatedRun, train: partition.Partition, violations: tuple[str, ...] = ()
) -> PrivacyPlan:
    """Returns the privacy plan of a run with differential privacy.

    Args:
      run: The configuration, from `resolve`.
      train: The clients that train.
      violations: Violations of the accountant's assumptions, from `conduct.check`.

    Raises:
      UserError: If a flag is out of range, or no amount of noise reaches the target epsilon.
    """
    if run.privacy.noise_seed is not None:
        violations += (f"{contract.REPEATABLE} (`noise_seed`={run.privacy.noise_seed})",)
    if run.clients.clients_per_round > train.num_clients:
        checks.refuse(
            "clients_per_round",
            run.clients.clients_per_round,
            f"there are only {train.num_clients} clients",
        )
    if run.privacy.dp == guarantee.EXAMPLE_LEVEL:
        return _plan_examples(run, train, violations)
    return _plan_clients(run, train.num_clients + run.privacy.audit_canaries, violations)


def _plan_clients(
    run: configs.FederatedRun, population: int, violations: tuple[str, ...]
) -> PrivacyPlan:
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
    unit = f"client of {population:,}"
    lines = [
        _describe_noise(run, promised),
        *_describe_end(run, promised, rounds, promised.epsilon(rounds), unit),
    ]
    event = promised.event(rounds)
    adjacency = accounting.ZERO_OUT if is_tree else accounting.adjacency_of(event)
    return PrivacyPlan(promised, rounds, tuple(lines), (event,), adjacency)


def _plan_examples(
    run: configs.FederatedRun, train: partition.Partition, violations: tuple[str, ...]
) -> PrivacyPlan:
    flags = run.privacy
    largest = int(train.sizes.max())
    delta = accounting.default_delta(largest) if flags.delta is None else flags.delta
    accounting.check_delta(delta, largest, "example")
    sizes = zip(train.client_ids, train.sizes.tolist(), strict=True)
    silos = [silo(run, name, size) for name, size in sizes]
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
    # After each round: the number of rounds in which each silo took part.
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
            checks.refuse("target_epsilon", target, "already exceeded after one round")
    epsilon = promised.largest_epsilon(taken[rounds])
    lines = [
        f"{flags.dp}, noise multiplier {promised.noise_multiplier:.4g}, each example's gradient "
        f"clipped to {flags.clipping_norm:g}, expected batch size "
        f"{run.client_training.batch_size}",
        *_describe_end(
            run, promised, rounds, epsilon, "example of the client with the largest epsilon"
        ),
    ]
    kinds = promised.events(taken[rounds])
    return PrivacyPlan(promised, rounds, tuple(lines), kinds, accounting.ADD_OR_REMOVE)


def silo(run: configs.FederatedRun, name: str, examples: int) -> example_level.Silo:
    """Returns what the accounting of DP-SGD needs of a client.

    Args:
      run: The configuration.
      name: Id of the client.
      examples: Number of its examples.
    """
    batch_size, federated = run.client_training.batch_size, run.federated
    return example_level.Silo(
        name,
        examples,
        batching.poisson_rate(examples, batch_size),
        batching.poisson_steps(
            examples, batch_size, federated.client_epochs, federated.local_steps
        ),
    )


def _participation(run: configs.FederatedRun, population: int) -> dp_ftrl.Participation:
    """Returns the participation bound of cyclic sampling, after a check against the flags."""
    flags, rounds = run.privacy, run.rounds.rounds
    period = population // run.clients.clients_per_round
    most, apart = math.ceil(rounds / period), period - 1
    if flags.max_participations is not None and most > flags.max_participations:
        checks.refuse(
            "max_participations",
            flags.max_participations,
            f"{rounds} rounds of {run.clients.clients_per_round} among {population} clients need "
            f"{most} rounds of a client; lower `rounds` or `clients_per_round`",
        )
    if flags.min_separation is not None and apart < flags.min_separation:
        checks.refuse(
            "min_separation",
            flags.min_separation,
            f"{run.clients.clients_per_round} of {population} clients in a round leave {apart} "
            "rounds between two rounds of a client; lower `clients_per_round`",
        )
    return dp_ftrl.Participation(most, apart)


def _describe_noise(run: configs.FederatedRun, promised: guarantee.Guarantee) -> str:
    flags, noise = run.privacy, promised.noise_multiplier
    described = f"{flags.dp}, noise multiplier {noise:.4g}, clipping norm {flags.clipping_norm:g}"
    if promised.participation is not None:
        bound = promised.participation
        return (
            f"{described}; each client in at most {bound.max_participations} rounds, with at least "
            f"{bound.min_separation} rounds in between"
        )
    on_mean = signal.noise_on_mean(noise, flags.clipping_norm, promised.clients_per_round)
    return f"{described}, noise on each coordinate of the mean {on_mean:.3g}"


def _describe_end(
    run: configs.FederatedRun,
    promised: guarantee.Guarantee | example_level.ExampleGuarantee,
    rounds: int,
    epsilon: float,
    unit: str,
) -> list[str]:
    lines = []
    if rounds < run.rounds.rounds:
        lines.append(
            f"`target_epsilon`={run.privacy.target_epsilon:g} ends training after {rounds} of "
            f"{run.rounds.rounds} rounds"
        )
    if promised.violations:
        return [*lines, *(f"no guarantee: {sentence}" for sentence in promised.violations)]
    if math.isinf(epsilon):
        return [*lines, "no guarantee: epsilon is infinite without noise"]
    return [
        *lines,
        f"after {rounds} rounds: epsilon {epsilon:.4g} ({promised.accountant}) at delta "
        f"{promised.delta:.3g} for one {unit}",
    ]
