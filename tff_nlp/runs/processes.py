"""The learning process of a run: local training, aggregator and algorithm."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow_federated as tff

from tff_nlp import seeds
from tff_nlp.aggregation import factor_products
from tff_nlp.learning import attacks, client_work, optimizers, schedules, stateful
from tff_nlp.learning.algorithms import (
    ditto,
    fed_avg,
    fed_buff,
    fed_per,
    fed_prox,
    fed_sa,
    mime_lite,
    q_fed_avg,
    scaffold,
)
from tff_nlp.learning.transforms import example_privacy
from tff_nlp.models.adapters import names as adapters
from tff_nlp.privacy import mechanism, releases
from tff_nlp.privacy.example_level import ExampleGuarantee
from tff_nlp.privacy.guarantee import Guarantee
from tff_nlp.runs import (
    canary_clients,
    client_ranks,
    codings,
    conduct,
    configs,
    distilling,
    robust_rounds,
    secure_rounds,
)
from tff_nlp.runs.privacy_plan import PrivacyPlan
from tff_nlp.tasks import task as tasks


def local_work(run: configs.FederatedRun, plan: PrivacyPlan | None) -> client_work.LocalWork:
    """Returns the local training that the configuration describes."""
    federated, client = run.federated, run.client_training
    return client_work.LocalWork(
        optimizer=optimizers.ClientOptimizer(
            name=client.client_optimizer,
            learning_rate=client.known_learning_rate(),
            momentum=client.client_momentum,
            weight_decay=client.client_weight_decay,
            clip_norm=client.client_clip_norm,
        ),
        schedule=schedules.LinearSchedule(
            warmup_rounds=federated.warmup_rounds,
            total_rounds=run.rounds.rounds if federated.decay_learning_rate else None,
        ),
        weighting=federated.weighting,
        example_privacy=_example_privacy(run, plan.guarantee) if plan else None,
        canaries=canary_clients.training(run),
        attack=attacks.Attack(run.attack.attack, run.attack.scale()) if run.attack.is_on else None,
        seed=seeds.derive(run.rounds.seed, "dropout"),
    )


def server_optimizer(run: configs.FederatedRun) -> optimizers.ServerOptimizer:
    """Returns the server's optimizer that the configuration describes."""
    return optimizers.ServerOptimizer(
        name=run.federated.server_optimizer,
        learning_rate=run.federated.server_learning_rate,
        momentum=run.federated.server_momentum,
        epsilon=run.federated.server_epsilon,
    )


def build_process(
    run: configs.FederatedRun,
    trained: tasks.Task,
    population: int,
    plan: PrivacyPlan | None,
    public: distilling.Public | None = None,
) -> tff.learning.templates.LearningProcess | stateful.StatefulProcess:
    """Returns the learning process that the configuration describes.

    Args:
      run: The configuration.
      trained: The task.
      population: Number of clients.
      plan: The privacy plan of the run; None without differential privacy.
      public: The public texts; None if the run does not distil.
    """
    local = local_work(run, plan)
    mismatch: dict[str, Any] = {"allow_dp_mismatch": run.privacy.allow_dp_mismatch}
    strength: dict[str, Any] = {"proximal_strength": run.federated.proximal_strength}
    builders: Mapping[str, Callable[..., Any]] = {
        "fedavg": functools.partial(fed_avg.fed_avg, **mismatch),
        "fedprox": functools.partial(fed_prox.fed_prox, **strength, **mismatch),
        "scaffold": functools.partial(scaffold.scaffold, population=population),
        "mime_lite": mime_lite.mime_lite,
        "fedbuff": fed_buff.fed_buff,
        "fedper": fed_per.fed_per,
        "fedsa": fed_sa.fed_sa,
        "ditto": functools.partial(ditto.ditto, strength=run.federated.ditto_strength),
        "qfedavg": functools.partial(q_fed_avg.q_fed_avg, fairness=run.federated.fairness_q),
        **distilling.builders(run, local.optimizer, public),
    }
    local = dataclasses.replace(local_work(run, plan), ranks=client_ranks.of_run(run, trained))
    return builders[run.process](
        trained,
        local,
        server_optimizer=server_optimizer(run),
        aggregator=build_aggregator(run, trained, plan),
    )


def _example_privacy(
    run: configs.FederatedRun, promised: Guarantee | ExampleGuarantee
) -> example_privacy.ExamplePrivacy | None:
    if isinstance(promised, Guarantee):
        return None
    return example_privacy.ExamplePrivacy(
        clipping_norm=run.privacy.clipping_norm,
        noise_multiplier=promised.noise_multiplier,
        expected_batch_size=run.client_training.batch_size,
    )


def build_aggregator(
    run: configs.FederatedRun, trained: tasks.Task, plan: PrivacyPlan | None
) -> Any:
    """Returns the aggregator of updates, see `build_process`; None for the plain mean."""
    if conduct.of_process(run).aggregator.multiplies:
        pairs = [(factors.a, factors.b) for factors in trained.factors]
        method = run.model.lora_aggregation
        return factor_products.FactorMeanFactory(
            method, pairs, starts_anew=method == adapters.FLORA
        )
    of_mechanism = private_mean(run, plan)
    if of_mechanism is None:
        return (
            robust_rounds.aggregator(run)
            or codings.aggregator(run)
            or secure_rounds.aggregator(run)
        )
    aggregator = mechanism.build_aggregator(of_mechanism, codings.of_run(run))
    if canary_clients.audits_rounds(run):
        aggregator = releases.ReleasingFactory(aggregator)
    return aggregator


def private_mean(run: configs.FederatedRun, plan: PrivacyPlan | None) -> mechanism.Mechanism | None:
    """Returns the mechanism that adds up updates; None without client-level privacy."""
    # With example-level privacy, the updates are already private.
    if plan is None or isinstance(plan.guarantee, ExampleGuarantee):
        return None
    flags, promised = run.privacy, plan.guarantee
    return mechanism.Mechanism(
        name=promised.mechanism,
        noise_multiplier=promised.noise_multiplier,
        clients_per_round=promised.clients_per_round,
        clipping_norm=flags.clipping_norm,
        target_quantile=flags.target_quantile,
        clipping_learning_rate=flags.clipping_learning_rate,
        count_stddev=flags.clipped_count_stddev,
        efficient_tree=flags.efficient_tree,
        restart_every=promised.restart_every,
        bits=flags.distributed_bits,
    )
