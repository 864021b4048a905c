"""Clients of an audit that take part in a run with client-level privacy, and what they find."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tff_nlp import errors
from tff_nlp.clients import partition
from tff_nlp.learning import canary_update, client_input
from tff_nlp.privacy import audit_report, canaries, mechanism, names
from tff_nlp.program import trace_log
from tff_nlp.program import training as programs

if TYPE_CHECKING:
    from experiments.federated_run import FederatedRun

Dataset = Callable[[int, int], tf.data.Dataset]

# How much longer than the clipping norm canaries are, so that a mechanism that forgets to clip
# cannot be missed.
_LENGTH = 1000.0


def training(run: "FederatedRun") -> canary_update.Canaries | None:
    """Returns how canaries are drawn; None without any."""
    if not run.privacy.audit_canaries:
        return None
    seed = canaries.seed_of(run.rounds.seed)
    return canary_update.Canaries(seed, _LENGTH * run.privacy.clipping_norm)


def audits_rounds(run: "FederatedRun") -> bool:
    """Returns whether the audit looks at the release of every round.

    Not where clients add the noise: their sums are rounded on a grid, for which no bound is known.
    """
    return bool(run.privacy.audit_canaries) and run.privacy.dp != names.DISTRIBUTED


def auditor(run: "FederatedRun", clients: int) -> trace_log.Auditor | None:
    """Returns how the releases of the rounds are read; None if they are not.

    Args:
      run: The flags.
      clients: How many real clients there are.
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
    key: Callable[[int, int], np.ndarray | None],
    *,
    audited: bool,
) -> Callable[[int, int], Any]:
    """Returns the function from a client to its data, canaries being the positions after the last.

    Args:
      dataset: The same of the real clients.
      train: The real clients.
      batch_spec: The specs of a batch.
      key: From client and round to the key of the noise that the client adds; None for no noise.
      audited: Whether there are canaries.
    """

    def either(client: int, number: int, state: Any = None) -> Any:
        real = client < train.num_clients
        canary = None
        if audited:
            index = client - train.num_clients
            canary = client_input.CANARY_SPEC if real else tf.constant(index)
        batches = dataset(client, number) if real else client_input.no_elements(batch_spec)
        return client_input.with_values(
            batches, state=state, noise_key=key(client, number), canary=canary
        )

    return either


def audit(
    run: "FederatedRun",
    trained: programs.Outcome,
    initial: Sequence[Any],
    final: Sequence[Any],
    mean: mechanism.Mechanism | None,
) -> audit_report.Report | None:
    """Looks for the traces of the canaries in what training released; None without canaries.

    Args:
      run: The flags.
      trained: The run's outcome.
      initial: The trainable weights before the first round.
      final: The same after the last.
      mean: How updates were combined; None without privacy of clients.
    """
    count = run.privacy.audit_canaries
    if not count or trained.privacy is None or mean is None:
        return None
    released = [np.asarray(b) - np.asarray(a) for a, b in zip(initial, final, strict=True)]
    # An update is what is taken off the weights.
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
    """Raises RunError if the audit refutes what is stated."""
    if audited is not None and audited.refuted:
        raise errors.RunError(
            f"{audited.line()}: the run is less private than it says; do not publish it"
        )
