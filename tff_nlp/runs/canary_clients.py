"""Canaries in a run with client-level privacy: their data, and the audit of their traces."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp import errors
from tff_nlp.clients import partition
from tff_nlp.learning import canary_update, client_input
from tff_nlp.privacy import audit_report, canaries, mechanism, names
from tff_nlp.program import trace_log
from tff_nlp.program import training as programs
from tff_nlp.runs import configs

# (client, round) -> a value of the client's input, or None.
Value = Callable[[int, int], Any]
Dataset = Callable[[int, int], tf.data.Dataset]

# Norm of a canary's update in clipping norms. It is large, so that the audit detects a mechanism
# that does not clip.
_LENGTH = 1000.0


def training(run: configs.FederatedRun) -> canary_update.Canaries | None:
    """Returns the canaries of a run; None without an audit."""
    if not run.privacy.audit_canaries:
        return None
    seed = canaries.seed_of(run.rounds.seed)
    return canary_update.Canaries(seed, _LENGTH * run.privacy.clipping_norm)


def audits_rounds(run: configs.FederatedRun) -> bool:
    """Returns whether the audit reads the release of every round.

    If clients add the noise, it does not. Their sums are rounded on a grid, and no bound is known
    for such sums.
    """
    return bool(run.privacy.audit_canaries) and run.privacy.dp != names.DISTRIBUTED


def auditor(run: configs.FederatedRun, clients: int) -> trace_log.Auditor | None:
    """Returns the auditor of the rounds' releases; None if the audit does not read them.

    Args:
      run: The configuration.
      clients: Number of real clients.
    """
    if not audits_rounds(run):
        return None
    adapts = run.privacy.dp == names.ADAPTIVE_CLIPPING
    return trace_log.Auditor(
        seed=run.rounds.seed,
        clients=clients,
        denominator=run.clients.clients_per_round,
        clipping_norm=None if adapts else run.privacy.clipping_norm,
    )


def with_canaries(
    dataset: Dataset,
    train: partition.Partition,
    batch_spec: Any,
    *,
    audited: bool,
    values: Mapping[str, Value],
) -> Callable[[int, int], Any]:
    """Returns the function (client, round) -> input of the client, for real clients and canaries.

    The positions of canaries follow those of the real clients.

    Args:
      dataset: Function (client, round) -> data set of a real client.
      train: The real clients.
      batch_spec: The specs of a batch.
      audited: Whether there are canaries.
      values: Functions (client, round) -> another value of the client's input, by its name in
        `client_input`. They return None if the algorithm does not need the value.
    """

    def client_data(client: int, number: int, state: Any = None) -> Any:
        real = client < train.num_clients
        canary = None
        if audited:
            index = client - train.num_clients
            canary = client_input.CANARY_SPEC if real else tf.constant(index)
        batches = dataset(client, number) if real else client_input.no_elements(batch_spec)
        others = {name: value(client, number) for name, value in values.items()}
        return client_input.with_values(
            batches, **{client_input.STATE: state, client_input.CANARY: canary, **others}
        )

    return client_data


def audit(
    run: configs.FederatedRun,
    trained: programs.Outcome,
    initial: Sequence[Any],
    final: Sequence[Any],
    mean: mechanism.Mechanism | None,
) -> audit_report.Report | None:
    """Measures the traces of the canaries in the releases of the training.

    Args:
      run: The configuration.
      trained: The outcome of the training.
      initial: Trainable weights before the first round.
      final: Trainable weights after the last round.
      mean: The mechanism that combined the updates; None without client-level privacy.

    Returns:
      The report; None without canaries or without client-level privacy.
    """
    count = run.privacy.audit_canaries
    if not count or trained.privacy is None or mean is None:
        return None
    released = [np.asarray(b) - np.asarray(a) for a, b in zip(initial, final, strict=True)]
    # The server subtracts updates from the weights.
    cosines = -canaries.cosines(released, run.rounds.seed, count, [p.shape for p in released])
    stated = trained.privacy
    return audit_report.report(
        cosines,
        [part.size for part in released],
        stated.delta,
        stated.epsilons.by(stated.epsilons.tightest) if stated.guaranteed else float("inf"),
        trained.traces,
        noise_multiplier=mechanism.independent_noise(mean),
    )


def check(audited: audit_report.Report | None) -> None:
    """Raises RunError if the audit refutes the claimed epsilon."""
    if audited is not None and audited.refuted:
        raise errors.RunError(
            f"{audited.line()}: the run is less private than it claims; do not publish it"
        )
