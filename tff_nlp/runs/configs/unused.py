"""Finds options that have no effect because of the values of other options."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from tff_nlp.aggregation.compression import names as compression
from tff_nlp.aggregation.robust import names as robust
from tff_nlp.errors import setting
from tff_nlp.learning import attack_names as attacks
from tff_nlp.models.adapters import names as adapters
from tff_nlp.privacy.contract_terms import SENDS_OUTPUTS
from tff_nlp.runs import options
from tff_nlp.runs.configs import federated, task_names

_CLASSIFIERS = (task_names.CLASSIFICATION, task_names.PAIRS)
_WITH_SERVER_STEPS = tuple(name for name in federated.ALGORITHMS if name not in SENDS_OUTPUTS)
# Options that have an effect only for some values of another option, and these values.
_MEANT_FOR = {
    "negative_at_most": ("corpus", ("vader",)),
    "positive_at_least": ("corpus", ("vader",)),
    "num_clients": ("partition", ("grouped", "iid", "dirichlet", "shards", "quantity")),
    "clients_per_domain": ("partition", ("domains",)),
    "dirichlet_alpha": ("partition", ("dirichlet", "quantity")),
    "shards_per_client": ("partition", ("shards",)),
    "pooling": ("task", _CLASSIFIERS),
    "encoder_dropout": ("task", _CLASSIFIERS),
    "lowercase": ("task", _CLASSIFIERS),
    "strip_accents": ("task", _CLASSIFIERS),
    "decode_html_entities": ("task", _CLASSIFIERS),
    "logit_adjustment": ("task", _CLASSIFIERS),
    "encoder_layers": ("encoder", ("random",)),
    "encoder_width": ("encoder", ("random",)),
    "encoder_heads": ("encoder", ("random",)),
    "vocabulary_size": ("encoder", ("random",)),
    "lora_rank": ("adapter", (adapters.LORA,)),
    "lora_client_ranks": ("adapter", (adapters.LORA,)),
    "lora_alpha": ("adapter", (adapters.LORA,)),
    "lora_matrices": ("adapter", (adapters.LORA,)),
    "lora_aggregation": ("adapter", (adapters.LORA,)),
    "adapter_width": ("adapter", (adapters.HOULSBY,)),
    "prefix_length": ("adapter", (adapters.PREFIX,)),
    "proximal_strength": ("algorithm", ("fedprox",)),
    "ditto_strength": ("algorithm", ("ditto",)),
    "fairness_q": ("algorithm", ("qfedavg",)),
    "byzantine_clients": ("aggregator", robust.COUNTING),
    "update_norm_bound": ("aggregator", (robust.NORM_BOUND,)),
    "clipping_radius": ("aggregator", (robust.CENTERED_CLIPPING,)),
    "max_update_gigabytes": ("aggregator", robust.COMPARING),
    "compression_fraction": ("compression", tuple(compression.FRACTIONS)),
    "compression_rank": ("compression", (compression.POWER_SGD,)),
    "error_feedback": ("compression", compression.BIASED),
    "attack_fraction": ("attack", attacks.ATTACKS[1:]),
    "attack_scale": ("attack", tuple(attacks.SCALES)),
    "backdoor_trigger": ("attack", (attacks.BACKDOOR,)),
    "backdoor_label": ("attack", (attacks.BACKDOOR,)),
    "concurrency": ("algorithm", ("fedbuff",)),
    "public_corpus": ("algorithm", federated.DISTILLING),
    "public_examples": ("algorithm", federated.DISTILLING),
    "distillation_epochs": ("algorithm", federated.DISTILLING),
    "distillation_learning_rate": ("algorithm", federated.DISTILLING),
    "client_encoders": ("algorithm", SENDS_OUTPUTS),
    "dsfl_temperature": ("algorithm", ("dsfl",)),
    "server_optimizer": ("algorithm", _WITH_SERVER_STEPS),
    "server_learning_rate": ("algorithm", _WITH_SERVER_STEPS),
    "server_momentum": ("algorithm", _WITH_SERVER_STEPS),
    "fine_tune_steps": ("personalize", ("fine_tune",)),
    "server_epsilon": ("server_optimizer", ("adam", "yogi", "adagrad")),
}


def without_effect(*groups: Any) -> list[str]:
    """Returns a sentence, a marked text, for each option that was set but has no effect.

    Args:
      *groups: Config groups. The values "auto" are already replaced.
    """
    values = options.record(*groups)
    return [
        f"{setting(name, values[name])} has no effect with {setting(other, values[other])}"
        for name, other in _unused(*groups)
    ]


def reset_unused(group: Any) -> Any:
    """Returns a config group in which each option without an effect has its default.

    Args:
      group: A config group. Options whose effect depends on another group stay.
    """
    defaults = _defaults(group)
    return dataclasses.replace(group, **{name: defaults[name] for name, _ in _unused(group)})


def _unused(*groups: Any) -> Iterator[tuple[str, str]]:
    """Yields each option that was set but has no effect, with the option on which this depends."""
    defaults, values = _defaults(*groups), options.record(*groups)
    for name, (other, choices) in _MEANT_FOR.items():
        if name not in values or other not in values:
            continue
        if values[name] != defaults[name] and values[other] not in choices:
            yield name, other


def _defaults(*groups: Any) -> dict[str, Any]:
    return {f.name: f.default for group in groups for f in dataclasses.fields(group)}
