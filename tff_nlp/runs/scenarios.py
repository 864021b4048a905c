"""What attacked clients do: the configuration of each scenario of an attack on texts."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tff_nlp.aggregation.compression import names as compressions
from tff_nlp.models.adapters import names as adapters
from tff_nlp.privacy import names as privacy_names
from tff_nlp.runs import configs, privacy_plan
from tff_nlp.runs.configs import inversion

# Step size of plain sgd. The update is rounded to float32, so a small step hides small gradients.
_RATE = 0.1
_LOCAL_STEPS = 4
_DROPOUT = 0.1
# Standard deviation of B in LoRA after some rounds.
LATER = 0.02


@dataclasses.dataclass(frozen=True)
class Scenario:
    """What attacked clients do.

    Attributes:
      run: The configuration of their training.
      sentences: Number of texts of a client; None for all that it has.
      clients: Number of clients whose mean update the server sees.
      noise: Noise multiplier of DP-SGD; None for none.
      later: Standard deviation of the factors B before the round, instead of 0.
    """

    run: configs.FederatedRun
    sentences: int | None
    clients: int = 1
    noise: float | None = None
    later: float = 0.0


def why_not_as_run(run: configs.FederatedRun) -> str:
    """Returns why the clients of a run cannot be attacked as they are, marked text; empty if so."""
    departures = (
        ("algorithm", run.federated.algorithm, "fedavg"),
        ("secure_aggregation", run.federated.secure_aggregation, privacy_names.NONE),
        ("logit_adjustment", run.federated.logit_adjustment, 0.0),
        ("lora_client_ranks", run.model.lora_client_ranks, ""),
    )
    for name, value, simulated in departures:
        if value != simulated:
            return f"`{name}`={value}: its clients are not simulated here"
    if run.privacy.dp in (privacy_names.EXAMPLE_LEVEL, privacy_names.DISTRIBUTED):
        return f"`dp`={run.privacy.dp}: the noise of its clients is not simulated here"
    return ""


def of(name: str, run: configs.FederatedRun, options: configs.InversionConfig) -> Scenario:
    """Returns a scenario.

    Args:
      name: One of `configs.inversion.SCENARIOS`.
      run: The configuration of the attacked run.
      options: The options of the attack.
    """
    found = _of(name, run, options)
    return dataclasses.replace(found, run=privacy_plan.resolve(found.run))


def _of(name: str, run: configs.FederatedRun, options: configs.InversionConfig) -> Scenario:
    if name == inversion.AS_RUN:
        return Scenario(run, None)
    one = options.sentences
    plain = _changed(
        run,
        client_training=configs.ClientTrainingConfig(
            batch_size=one, client_optimizer="sgd", client_learning_rate=_RATE
        ),
        federated=configs.FederatedConfig(),
        compression=configs.CompressionConfig(),
        model=_without_adapter(run.model),
    )
    return {
        inversion.UNPROTECTED: lambda: Scenario(plain, one),
        "adamw": lambda: Scenario(
            _with(plain, "client_training", client_optimizer="adamw", client_learning_rate=None),
            one,
        ),
        "dropout": lambda: Scenario(
            _with(plain, "model", dropout=_DROPOUT, encoder_dropout=_DROPOUT), one
        ),
        "local_steps": lambda: Scenario(plain, _LOCAL_STEPS * one),
        "8_bits": lambda: Scenario(_with(plain, "compression", upload_bits=8), one),
        "top_k": lambda: Scenario(_with(plain, "compression", compression=compressions.TOP_K), one),
        "lora_first_round": lambda: Scenario(_lora(plain), one),
        "lora_later": lambda: Scenario(_lora(plain), one, later=LATER),
        "head": lambda: Scenario(_with(plain, "model", trainable="head"), one),
        "secure_sum": lambda: Scenario(plain, one, clients=options.secure_sum_clients),
        "example_noise": lambda: Scenario(plain, one, noise=options.noise_multiplier),
    }[name]()


def _without_adapter(model: configs.ModelConfig) -> configs.ModelConfig:
    plain = dataclasses.replace(
        model, adapter=adapters.NONE, trainable="all", dropout=0.0, encoder_dropout=0.0
    )
    return configs.reset_unused(plain)


def _lora(run: configs.FederatedRun) -> configs.FederatedRun:
    return _with(run, "model", adapter=adapters.LORA, trainable=adapters.ADAPTER)


def _with(run: configs.FederatedRun, group: str, **changes: Any) -> configs.FederatedRun:
    """Returns a configuration with other options in one of its groups."""
    return _changed(run, **{group: dataclasses.replace(getattr(run, group), **changes)})


def _changed(run: configs.FederatedRun, **groups: Any) -> configs.FederatedRun:
    """Returns a configuration with other groups, without attacks and protections of the run."""
    others: Mapping[str, Any] = {
        "privacy": configs.PrivacyConfig(),
        "attack": configs.AttackConfig(),
        "devices": configs.DevicesConfig(),
        "aggregation": configs.AggregationConfig(),
        "personalization": configs.PersonalizationConfig(),
    }
    return dataclasses.replace(run, **{**others, **groups})
