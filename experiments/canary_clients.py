"""Clients of an audit that take part in a run with client-level privacy, and what they find."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tff_nlp import errors
from tff_nlp.clients import partition
from tff_nlp.learning import canary_update, client_input
from tff_nlp.privacy import audit as canary_audit
from tff_nlp.privacy import canaries
from tff_nlp.program import training as programs

if TYPE_CHECKING:
    from experiments.federated_run import FederatedRun

Dataset = Callable[[int, int], tf.data.Dataset]

# How much longer than the clipping norm canaries are, so that a mechanism that forgets to clip
# cannot be missed.
_LENGTH = 1000.0


@dataclasses.dataclass(frozen=True)
class Audited:
    """What the canaries of a run found.

    Attributes:
      found: Estimate and lower bound.
      claimed: The accountant's epsilon at the same delta; infinite without guarantee.
    """

    found: canary_audit.Estimate
    claimed: float

    def to_json(self) -> dict[str, Any]:
        """Returns the audit as values that json can write."""
        values = dataclasses.asdict(self.found)
        claimed = self.claimed if np.isfinite(self.claimed) else None
        return {**values, "claimed": claimed, "refuted": self.found.refutes(self.claimed)}

    def line(self) -> str:
        """Returns audit and claim in one line."""
        return self.found.line(self.claimed)


def training(run: "FederatedRun") -> canary_update.Canaries | None:
    """Returns how canaries are drawn; None without any."""
    if not run.privacy.audit_canaries:
        return None
    seed = canaries.seed_of(run.rounds.seed)
    return canary_update.Canaries(seed, _LENGTH * run.privacy.clipping_norm)


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
      key: Of client and round, the key of the noise that the client adds; None where it adds none.
      audited: Whether there are canaries.
    """

    def either(client: int, number: int, state: Any = None) -> Any:
        real = client < train.num_clients
        values: dict[str, Any] = {} if state is None else {client_input.STATE: state}
        noise_key = key(client, number)
        if noise_key is not None:
            values[client_input.NOISE_KEY] = noise_key
        if audited:
            canary = tf.constant(client - train.num_clients)
            values[client_input.CANARY] = client_input.CANARY_SPEC if real else canary
        batches = dataset(client, number) if real else client_input.no_elements(batch_spec)
        return client_input.with_values(batches, **values)

    return either


def audit(
    run: "FederatedRun",
    trained: programs.Outcome,
    initial: Sequence[Any],
    final: Sequence[Any],
) -> Audited | None:
    """Looks for the traces of the canaries in what training changed; None without canaries.

    Args:
      run: The flags.
      trained: The run's outcome.
      initial: The trainable weights before the first round.
      final: The same after the last.
    """
    count = run.privacy.audit_canaries
    if not count or trained.privacy is None:
        return None
    released = [np.asarray(b) - np.asarray(a) for a, b in zip(initial, final, strict=True)]
    shapes = [part.shape for part in released]
    # An update is what is taken off the weights.
    cosines = -canaries.cosines(released, run.rounds.seed, count, shapes)
    stated = trained.privacy
    found = canary_audit.estimate(cosines, canaries.dimension_of(shapes), stated.delta)
    claimed = stated.epsilons.by(stated.epsilons.tightest) if stated.guaranteed else float("inf")
    return Audited(found, claimed)


def check(audited: Audited | None) -> None:
    """Raises RunError if the audit refutes the accountant."""
    if audited is not None and audited.found.refutes(audited.claimed):
        raise errors.RunError(
            f"{audited.line()}: the run is less private than its accountant says; do not publish it"
        )
