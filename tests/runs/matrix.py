"""All combinations of task, algorithm, adapter, aggregator and mechanism, and samples of them.

The values of each axis come from the package's own lists of names. So a new algorithm, adapter or
mechanism joins by itself. One that cannot run with defaults gets its options in `NEEDS`.
"""

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tff_nlp.aggregation.compression import names as compressions
from tff_nlp.aggregation.robust import names as robust
from tff_nlp.errors import UserError
from tff_nlp.models.adapters import names as adapters
from tff_nlp.privacy import names
from tff_nlp.runs import conduct, configs, privacy_plan
from tff_nlp.runs.configs import compression, federated, privacy, task_names

# Ways to make updates one that may exclude one another.
_SUMS: Mapping[str, Mapping[str, Any]] = {
    "bits": {"upload_bits": 8},
    "secure": {"secure_aggregation": names.PLAIN},
    "bounded": {"aggregator": robust.NORM_BOUND},
    "krum": {"aggregator": robust.KRUM},
}
# Axis -> name of a value -> options of that value.
AXES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "task": {task: {"task": task} for task in task_names.TASKS},
    "algorithm": {name: {"algorithm": name} for name in federated.ALGORITHMS},
    "adapter": {
        **{kind: {"adapter": kind} for kind in adapters.KINDS if kind != adapters.LORA},
        **{
            method: {"adapter": adapters.LORA, "lora_aggregation": method}
            for method in adapters.AGGREGATIONS
        },
        "flora_of_ranks": {
            "adapter": adapters.LORA,
            "lora_aggregation": adapters.FLORA,
            "lora_client_ranks": "1,2",
        },
    },
    "trainable": {
        **{
            f"trains_{choice}": {"trainable": choice}
            for choice in ("auto", "top_1", "biases", "head")
        },
        "clips_gradients": {"client_clip_norm": 0.5},
    },
    # How updates become one. Of the rules that compare updates, one has a state.
    "sums": {
        **{f"sums_{kind}": {"secure_aggregation": kind} for kind in names.SUMS},
        **{f"bits{bits}": {"upload_bits": bits} for bits in compression.UPLOAD_BITS[1:]},
        **{name: {"compression": name} for name in compressions.COMPRESSIONS[1:]},
        "top_k_of_bits": {"compression": compressions.TOP_K, "upload_bits": 8},
        "top_k_and_krum": {"compression": compressions.TOP_K, "aggregator": robust.KRUM},
        **{
            name: {"aggregator": name}
            for name in (robust.NORM_BOUND, robust.KRUM, robust.CENTERED_CLIPPING)
        },
        **{
            f"{one}_and_{other}": {**_SUMS[one], **_SUMS[other]}
            for one, other in itertools.combinations(_SUMS, 2)
            if (one, other) != ("bounded", "krum")
        },
    },
    "dp": {
        f"dp_{name}": {} if name == names.NONE else {"dp": name, "noise_multiplier": 0.25}
        for name in privacy.MECHANISMS
    }
    | {"dp_audited": {"dp": names.GAUSSIAN, "noise_multiplier": 0.25, "audit_canaries": 10}},
}
# The options that a value needs beside its own, by the value's name.
NEEDS: Mapping[str, Mapping[str, Any]] = {
    task_names.PAIRS: {"second_text_column": "other"},
    "fedbuff": {"concurrency": 2, "device_profiles": "equal"},
    **{name: {"public_corpus": "public.csv"} for name in federated.DISTILLING},
}

# A run that costs little. The noise is the same in each run. A masked sum needs five clients.
SMALL: Mapping[str, Any] = {
    "adapter_width": 2,
    "batch_size": 4,
    "client_test_fraction": 0.0,
    "clients_per_round": 5,
    "encoder": "random",
    "encoder_layers": 1,
    "encoder_width": 8,
    "lora_rank": 2,
    "max_tokens": 8,
    "num_clients": 7,
    "partition": "iid",
    "prefix_length": 2,
    "rounds": 2,
    "vocabulary_size": 300,
}

# Number of combinations that are decided by default. Nearly all triples of values are among them.
PART = 24_000

# The name of a value for each axis, in the order of `AXES`.
Combination = tuple[str, ...]


def options(combination: Combination) -> dict[str, Any]:
    """Returns the options in which a combination differs from `SMALL`."""
    merged: dict[str, Any] = {}
    for values, name in zip(AXES.values(), combination, strict=True):
        merged |= {**values[name], **NEEDS.get(name, {})}
    if "dp" in merged:
        merged["noise_seed"] = 1
    return merged


def configure(combination: Combination, **others: Any) -> configs.FederatedRun:
    """Returns the resolved configuration of a run.

    Args:
      combination: The combination.
      **others: Other options, such as the corpus.

    Raises:
      UserError: If the options are refused, as a script refuses its flags.
    """
    given = {**SMALL, **options(combination), **others}
    of_group: dict[str, list[tuple[str, Any]]] = {}
    for name, value in sorted(given.items()):
        for group in _groups()[name]:
            of_group.setdefault(group, []).append((name, value))
    groups = {group: _group(group, tuple(values)) for group, values in of_group.items()}
    return privacy_plan.resolve(configs.FederatedRun(**groups))


@functools.cache
def refusals(*, whole: bool = False) -> Mapping[Combination, str]:
    """Returns what refuses combinations of the matrix before TensorFlow is loaded.

    It is a sentence, as marked text, or empty for a combination that can train.

    Args:
      whole: Whether all combinations are decided; otherwise a random part, always the same one.
    """
    rows = list(itertools.product(*AXES.values()))
    if not whole:
        chosen = np.random.default_rng(0).choice(len(rows), PART, replace=False)
        rows = [rows[number] for number in sorted(chosen)]
    return {row: _refusal(row) for row in rows}


def accepted(*, whole: bool = False) -> list[Combination]:
    """Returns the combinations that can train, of all or of the part of `refusals`."""
    return [row for row, sentence in refusals(whole=whole).items() if not sentence]


def _refusal(combination: Combination) -> str:
    try:
        conduct.check(configure(combination))
    except UserError as error:
        return error.marked
    return ""


def covering(rows: Sequence[Combination], strength: int) -> list[Combination]:
    """Returns some of the rows, in which each value occurs, or each tuple of values.

    The rows are chosen one after the other. The next one is the first of those with the most tuples
    that did not occur yet. So the result depends on the rows only.

    Args:
      rows: The rows to choose from.
      strength: Number of values in a tuple.
    """
    numbers: dict[tuple[Any, ...], int] = {}
    places = list(itertools.combinations(range(len(AXES)), strength))
    tuples = np.array(
        [
            [
                numbers.setdefault((places_of, tuple(row[p] for p in places_of)), len(numbers))
                for places_of in places
            ]
            for row in rows
        ]
    )
    missing = np.ones(len(numbers), bool)
    chosen = []
    while missing.any():
        best = int(missing[tuples].sum(axis=1).argmax())
        missing[tuples[best]] = False
        chosen.append(rows[best])
    return chosen


@functools.cache
def _groups() -> Mapping[str, Sequence[str]]:
    """Returns the groups of a run that have an option, by the option's name."""
    found: dict[str, list[str]] = {}
    for group in dataclasses.fields(configs.FederatedRun):
        for option in dataclasses.fields(type(group.default)):
            found.setdefault(option.name, []).append(group.name)
    return found


@functools.cache
def _group(name: str, given: tuple[tuple[str, Any], ...]) -> Any:
    return type(getattr(configs.FederatedRun, name))(**dict(given))
