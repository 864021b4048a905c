"""Derives from a config what a run does with its clients, for the check of `privacy.contract`.

This file needs no TensorFlow. `composition.check` derives the same from objects.
"""

import importlib.util

from tff_nlp.aggregation.encryption import ckks
from tff_nlp.aggregation.robust import names as robust
from tff_nlp.aggregation.secure_aggregation import demands
from tff_nlp.learning import suitability
from tff_nlp.models.adapters import names as adapters
from tff_nlp.privacy import contract, contract_terms, names, properties
from tff_nlp.runs import checks, configs
from tff_nlp.runs.configs import task_names
from tff_nlp.tasks import dependence


def check(run: configs.FederatedRun) -> tuple[str, ...]:
    """Refuses settings that do not go together, before training.

    They would make an epsilon or a secure sum wrong, or the algorithm cannot run with them.

    Args:
      run: The configuration, from `privacy_plan.resolve`.

    Returns:
      The reasons why the run may claim no epsilon, if `allow_dp_mismatch` permits them.

    Raises:
      UserError: If a setting is refused, with the sentence of `contract.check` or of
        `learning.suitability`.
    """
    sums = run.federated.secure_aggregation
    if sums == names.CKKS and importlib.util.find_spec("tenseal") is None:
        checks.refuse("secure_aggregation", sums, ckks.MISSING)
    run.aggregation.attackers_of(run.clients.clients_per_round)
    _check_attack(run)
    _check_head(run)
    departures = contract.check(of_process(run), of_rounds(run))
    _check_optimizers(run)
    if run.process == "qfedavg":
        secure_sum = sums not in (names.NONE, names.CKKS)
        suitability.check_fairness(run.federated.fairness_q, secure_sum=secure_sum)
    return departures


def _check_attack(run: configs.FederatedRun) -> None:
    suitability.check_attack(
        run.attack.attack,
        run.process,
        run.aggregation.aggregator,
        has_labels=run.corpus.task != task_names.LANGUAGE_MODEL,
    )


def _check_head(run: configs.FederatedRun) -> None:
    if run.process == "fedper":
        suitability.check_local_head(
            run.corpus.task,
            has_head=run.corpus.task != task_names.LANGUAGE_MODEL,
            only_head=run.model.trainable == "head" and not run.model.has_adapter,
        )


def _check_optimizers(run: configs.FederatedRun) -> None:
    client, server = run.client_training, run.federated
    suitability.check_client_optimizer(
        run.process,
        client.client_optimizer,
        momentum=client.client_momentum,
        weight_decay=client.client_weight_decay,
        clip_norm=client.client_clip_norm,
    )
    method = _products(run.model)
    if method:
        suitability.check_server_optimizer(
            method, server.server_optimizer, server.server_learning_rate, server.server_momentum
        )


def of_process(run: configs.FederatedRun) -> contract_terms.Conduct:
    """Returns what the process of a run does with its clients."""
    dp = run.privacy.dp
    has_labels = run.corpus.task != task_names.LANGUAGE_MODEL
    return contract_terms.Conduct(
        algorithm=run.process,
        aggregator=properties.configured(
            dp,
            coded_by=run.compression.setting,
            keeps_error=run.compression.keeps_error,
            secure_sum=run.federated.secure_aggregation != names.NONE,
            encrypted=run.federated.secure_aggregation == names.CKKS,
            products=_products(run.model),
            robust=run.aggregation.aggregator if run.compares_updates else "",
            clips=run.aggregation.aggregator == robust.NORM_BOUND,
        ),
        by_example=dp == names.EXAMPLE_LEVEL,
        weighting=run.federated.weighting,
        dependence=dependence.of_labels(run.federated.logit_adjustment if has_labels else 0.0),
        audited=bool(run.privacy.audit_canaries),
        allow_dp_mismatch=run.privacy.allow_dp_mismatch,
    )


def of_rounds(run: configs.FederatedRun) -> contract_terms.Rounds:
    """Returns how the rounds of a run are drawn and run."""
    sums = run.federated.secure_aggregation
    masked = contract_terms.Masked(
        run.clients.clients_per_round, demanded(run), run.federated.secure_aggregation_threshold
    )
    return contract_terms.Rounds(
        sampling=run.clients.sampling,
        poisson_batches=run.privacy.dp == names.EXAMPLE_LEVEL,
        adjacency=run.privacy.adjacency,
        max_failed_clients=run.execution.max_failed_clients,
        context=run.execution.context,
        secure_sums=names.PLAIN if sums == names.NONE else sums,
        masked=masked if sums in (names.MASKED, names.CKKS) else None,
        by_devices=bool(run.devices.device_profiles),
    )


def demanded(run: configs.FederatedRun) -> demands.Demands:
    """Returns the demands of each client. In a simulation, all clients have the same demands."""
    return demands.Demands(colluders=run.federated.secure_aggregation_colluders)


def _products(model: configs.ModelConfig) -> str:
    """Returns how the server multiplies the factors of each client; empty if it does not."""
    multiplies = model.adapter == adapters.LORA and model.lora_aggregation in adapters.BY_PRODUCTS
    return model.lora_aggregation if multiplies else ""
