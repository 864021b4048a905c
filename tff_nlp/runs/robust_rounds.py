"""The aggregator of a run that withstands attacks."""

from typing import Any

import tensorflow_federated as tff

from tff_nlp.aggregation.robust import names, robust_mean
from tff_nlp.learning import attack_names as attacks
from tff_nlp.runs import codings, configs, secure_rounds


def aggregator(run: configs.FederatedRun) -> Any:
    """Returns the aggregator that compares or bounds updates; None if the run has none."""
    chosen = run.aggregation
    if run.compares_updates:
        return robust_mean.RobustMeanFactory(
            chosen.aggregator,
            attackers=chosen.attackers_of(run.clients.clients_per_round),
            radius=chosen.clipping_radius,
            clients=run.clients.clients_per_round,
            max_bytes=int(chosen.max_update_gigabytes * 1e9),
            little_is_enough=run.attack.scale() if run.attack.attack == attacks.ALIE else None,
            coding=codings.of_run(run),
        )
    if chosen.aggregator != names.NORM_BOUND:
        return None
    summed = secure_rounds.aggregator(run)
    # The number of clipped updates must not be in the clear if the updates are not.
    count = tff.aggregators.SumFactory() if summed is None else tff.aggregators.SecureSumFactory(1)
    return tff.aggregators.clipping_factory(
        chosen.update_norm_bound,
        summed or tff.aggregators.MeanFactory(),
        clipped_count_sum_factory=count,
    )
