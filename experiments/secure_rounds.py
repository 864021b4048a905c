"""Secure aggregation in a run: which aggregator sends integers, and which protocol adds them."""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments import checks
from tff_nlp.aggregation.secure_aggregation import demands, messages, session, simulation
from tff_nlp.privacy import names

if TYPE_CHECKING:  # Flags are checked before TensorFlow is imported.
    from experiments.federated_run import FederatedRun
    from tff_nlp.execution.ledger import Overhead
    from tff_nlp.execution.secure_sums import Protocols


def check(run: "FederatedRun") -> None:
    """Refuses, before anything runs, what cannot be added up securely.

    Raises:
      UserError: If the mechanism adds its noise to floats, the context cannot run secure sums, or
        clients would refuse the cohort or the threshold.
    """
    kind, dp = run.federated.secure_aggregation, run.privacy.dp
    if kind == "none":
        return
    if dp in (names.GAUSSIAN, names.ADAPTIVE_CLIPPING, names.TREE_AGGREGATION):
        why = f"--dp={dp} adds its noise to a sum of floats; take --dp=distributed"
        checks.refuse("secure_aggregation", kind, why)
    contexts = ("streaming",) if kind == "masked" else ("streaming", "ray")
    if run.execution.context not in contexts:
        why = f"--context={run.execution.context} cannot run it; take --context=streaming"
        checks.refuse("secure_aggregation", kind, why)
    if kind == "masked":
        cohort = run.clients.clients_per_round
        if run.clients.sampling == "poisson":
            why = (
                "a round that draws fewer clients than the threshold aborts; take --sampling=fixed"
            )
            checks.refuse("secure_aggregation", kind, why)
        demanded = _demanded(run)
        if cohort < demanded.fewest_clients:
            why = f"a masked sum is over {demanded.fewest_clients} clients or more"
            checks.refuse("clients_per_round", cohort, why)
        threshold = run.federated.secure_aggregation_threshold
        threshold = demanded.least_threshold(cohort) if threshold is None else threshold
        demanded.check(session.new(range(cohort), [session.Vector(1, 2)], threshold))


def aggregator(run: "FederatedRun") -> Any:
    """Returns TFF's aggregator of integers, whose range adapts; None for sums of floats."""
    if run.federated.secure_aggregation == "none" or run.privacy.dp == names.DISTRIBUTED:
        return None
    import tensorflow_federated as tff

    # Updates that are not finite are zero already.
    return tff.learning.secure_aggregator(
        zeroing=False, clipping=True, weighted=run.federated.weighting == "examples"
    )


def protocols(run: "FederatedRun") -> "Protocols | None":
    """Returns what adds up secure sums; None for in the clear."""
    if run.federated.secure_aggregation != "masked":
        return None
    threshold, demanded = run.federated.secure_aggregation_threshold, _demanded(run)

    def begin(clients: Sequence[int], vectors: Sequence[tuple[int, int]]) -> _Masked:
        shapes = [session.Vector(size, modulus) for size, modulus in vectors]
        return _Masked(simulation.Round(clients, shapes, threshold, demanded=demanded))

    return begin


def overhead(run: "FederatedRun") -> "Overhead | None":
    """Returns what the protocol sends per client beside its vectors; None without a protocol."""
    if run.federated.secure_aggregation != "masked":
        return None
    return functools.partial(messages.overhead, run.clients.clients_per_round)


def _demanded(run: "FederatedRun") -> demands.Demands:
    """Returns what each client of a run demands; in a simulation one person speaks for all."""
    return demands.Demands(colluders=run.federated.secure_aggregation_colluders)


class _Masked:
    """One round of the protocol, as the streaming context wants it."""

    def __init__(self, current: simulation.Round) -> None:
        self._current = current

    def add_input(self, client: int, tensors: Sequence[np.ndarray]) -> None:
        self._current.add_input(client, tensors)

    def finish(self) -> Sequence[np.ndarray]:
        return self._current.finish().sums
