"""Secure aggregation in a run: the aggregator of integers, and the protocol that adds them up."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tff_nlp.aggregation.encryption import ckks
from tff_nlp.aggregation.secure_aggregation import messages, session, simulation
from tff_nlp.privacy import names
from tff_nlp.runs import conduct, configs

if TYPE_CHECKING:  # Flags are checked before TensorFlow is imported.
    from tff_nlp.execution.ledger import Overhead
    from tff_nlp.execution.secure_sums import Protocols


def aggregator(run: configs.FederatedRun) -> Any:
    """Returns the aggregator of integers; None for sums of floats.

    For encryption it has a fixed step, otherwise it is TFF's with an adaptive range.
    """
    if run.federated.secure_aggregation == names.NONE or run.privacy.dp == names.DISTRIBUTED:
        return None
    if run.federated.secure_aggregation == names.CKKS:
        from tff_nlp.aggregation.encryption import fixed_point_mean

        # A Poisson draw has more clients than that only with negligible probability.
        return fixed_point_mean.FixedPointMeanFactory(2 * run.clients.clients_per_round + 30)
    import tensorflow_federated as tff

    # qfedavg weights clients by their losses, whatever else they weigh.
    weighted = run.federated.weighting == "examples" or run.federated.algorithm == "qfedavg"
    # No zeroing: clients already send zeros if an update is not finite.
    return tff.learning.secure_aggregator(zeroing=False, clipping=True, weighted=weighted)


def protocols(run: configs.FederatedRun) -> "Protocols | None":
    """Returns the protocol that computes secure sums; None for sums in the clear."""
    if run.federated.secure_aggregation == names.CKKS:
        holder = ckks.KeyHolder()  # Its keys last as long as the program.
        return lambda clients, vectors: ckks.Round(holder, vectors)
    if run.federated.secure_aggregation != names.MASKED:
        return None
    threshold, demanded = run.federated.secure_aggregation_threshold, conduct.demanded(run)

    def begin(clients: Sequence[int], vectors: Sequence[tuple[int, int]]) -> _Masked:
        shapes = [session.Vector(size, modulus) for size, modulus in vectors]
        return _Masked(simulation.Round(clients, shapes, threshold, demanded=demanded))

    return begin


def overhead(run: configs.FederatedRun) -> "Overhead | None":
    """Returns the function that counts the protocol's other bytes; None without a protocol."""
    if run.federated.secure_aggregation == names.CKKS:
        return ckks.overhead
    if run.federated.secure_aggregation != names.MASKED:
        return None
    return lambda sizes: messages.overhead(run.clients.clients_per_round, len(sizes))


class _Masked:
    """One round of the protocol, with the interface of the streaming context."""

    def __init__(self, current: simulation.Round) -> None:
        self._current = current

    def add_input(self, client: int, tensors: Sequence[np.ndarray]) -> None:
        self._current.add_input(client, tensors)

    def finish(self) -> Sequence[np.ndarray]:
        return self._current.finish().sums
