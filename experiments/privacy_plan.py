"""From the flags of differential privacy to what a run promises, before any training.

Imports no TensorFlow: what cannot hold is told within seconds.
"""

import dataclasses
import math
from typing import TYPE_CHECKING

from experiments import checks, privacy_flags
from tff_nlp import errors
from tff_nlp.privacy import accounting, adaptive_clipping, contract, dp_ftrl, guarantee, signal

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

    guarantee: guarantee.Guarantee
    rounds: int
    lines: tuple[str, ...]


def resolve(run: "FederatedRun") -> "FederatedRun":
    """Returns the run with --sampling and --weighting as its mechanism needs them, where auto."""
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
    )


def plan(run: "FederatedRun", population: int) -> PrivacyPlan:
    """Returns what a run with client-level privacy promises.

    Args:
      run: As `resolve` gives it.
      population: How many clients train.

    Raises:
      UserError: If a flag is out of range, no noise keeps the target, or the run departs from what
        its accountant assumes and --allow_dp_mismatch is not set.
    """
    flags, cohort = run.privacy, run.clients.clients_per_round
    if cohort > population:
        checks.refuse("clients_per_round", cohort, f"there are only {population} clients")
    delta = population**-1.1 if flags.delta is None else flags.delta
    accounting.check_delta(delta, population)
    replace_one = flags.adjacency == "replace_one" or flags.dp == guarantee.DISTRIBUTED
    violations = contract.violations(
        contract.Conduct(
            mechanism=flags.dp,
            sampling=run.clients.sampling,
            replace_one=replace_one,
            weighting=run.federated.weighting,
            max_failed_clients=run.execution.max_failed_clients,
        )
    )
    if violations and not flags.allow_dp_mismatch:
        raise errors.UserError(f"{violations[0]}; or --allow_dp_mismatch to train without it")
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
    if flags.dp in (guarantee.ADAPTIVE_CLIPPING, guarantee.DISTRIBUTED):
        stddev = flags.clipped_count_stddev
        adaptive_clipping.split_noise(promised.noise_multiplier, cohort, stddev)
    return PrivacyPlan(promised, rounds, tuple(_describe(run, promised, rounds)))


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


def _describe(run: "FederatedRun", promised: guarantee.Guarantee, rounds: int) -> list[str]:
    flags = run.privacy
    noise = promised.noise_multiplier
    on_mean = signal.noise_on_mean(noise, flags.clipping_norm, promised.clients_per_round)
    described = f"{flags.dp}, noise multiplier {noise:.4g}, clipping norm {flags.clipping_norm:g}"
    if flags.dp == guarantee.DISTRIBUTED:
        described = f"{flags.dp}, noise multiplier {noise:.4g}, clipping norm adapts from 0.1"
    elif flags.dp != guarantee.TREE_AGGREGATION:
        described += f", noise on each coordinate of the mean {on_mean:.3g}"
    lines = [described]
    if promised.participation is not None:
        bound = promised.participation
        lines.append(
            f"each client in at most {bound.max_participations} rounds, with at least "
            f"{bound.min_separation} between two"
        )
    if rounds < run.rounds.rounds:
        lines.append(
            f"--target_epsilon={flags.target_epsilon:g} ends training after {rounds} of "
            f"{run.rounds.rounds} rounds"
        )
    if promised.violations:
        return [*lines, *(f"no guarantee: {sentence}" for sentence in promised.violations)]
    epsilon = promised.epsilon(rounds)
    shown = f"epsilon {epsilon:.4g}" if math.isfinite(epsilon) else "no guarantee: epsilon infinite"
    lines.append(
        f"after {rounds} rounds {shown} ({promised.accountant}) at delta {promised.delta:.3g} for "
        f"one client of {promised.population:,}"
    )
    return lines
