"""What an aggregator keeps of what it is given, and what a printed epsilon needs to be true."""

import dataclasses
from typing import Any

import tensorflow_federated as tff

from tff_nlp.privacy import contract


@dataclasses.dataclass(frozen=True)
class Properties:
    """What an aggregator does with updates.

    Attributes:
      protects_clients: Whether it bounds each client's part and adds noise.
      sums_suffice: Whether the sum of what clients send is all that it reads.
    """

    protects_clients: bool = False
    sums_suffice: bool = True


def of(aggregator: Any) -> Properties:
    """Returns an aggregator's properties: its own, or those that its kind has in TFF."""
    own = getattr(aggregator, "properties", None)
    if isinstance(own, Properties):
        return own
    private = isinstance(aggregator, tff.aggregators.DifferentiallyPrivateFactory)
    return Properties(protects_clients=private)


def violations(
    *, aggregator: Properties, by_example: bool, weighting: str, dependence: str
) -> tuple[str, ...]:
    """Returns a sentence for everything in a process that voids an epsilon.

    Args:
      aggregator: The aggregator's properties.
      by_example: Whether clients train with DP-SGD.
      weighting: "uniform", or "examples".
      dependence: Why the loss of an example depends on others; empty if it does not.
    """
    found = []
    if aggregator.protects_clients or by_example:
        found.append(contract.weighting_violation(weighting))
    if by_example:
        found.append(dependence)
    return tuple(sentence for sentence in found if sentence)
