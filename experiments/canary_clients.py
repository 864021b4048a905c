"""Clients of an audit that take part in a run with client-level privacy, and what they find."""

import collections
import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tff_nlp import errors
from tff_nlp.clients import partition
from tff_nlp.learning import client_update
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


def training(run: "FederatedRun") -> client_update.Canaries | None:
    """Returns how canaries are drawn; None without any."""
    if not run.privacy.audit_canaries:
        return None
    seed = canaries.seed_of(run.rounds.seed)
    return client_update.Canaries(seed, _LENGTH * run.privacy.clipping_norm)


def with_canaries(
    dataset: Dataset,
    train: partition.Partition,
    pad_id: int,
    key: Callable[[int, int], np.ndarray | None],
) -> Dataset:
    """Returns the function from a client to its data, canaries being the positions after the last.

    Args:
      dataset: The same of the real clients.
      train: The real clients.
      pad_id: Fills the one batch by which the client update knows a canary.
      key: Of client and round, the key of the noise that the client adds; None where it adds none.
    """

    def either(client: int, number: int) -> tf.data.Dataset:
        if client < train.num_clients:
            return dataset(client, number)
        x, y = client_update.canary_batch(client - train.num_clients, pad_id)
        batch = collections.OrderedDict(x=tf.constant(x), y=tf.constant(y))
        noise_key = key(client, number)
        if noise_key is not None:
            batch = collections.OrderedDict(noise_key=tf.constant(noise_key), **batch)
        return tf.data.Dataset.from_tensors(batch)

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
