"""How the server combines updates if some clients may attack."""

import dataclasses

from tff_nlp.aggregation.robust import names as robust
from tff_nlp.runs import checks
from tff_nlp.runs.options import option


@dataclasses.dataclass(frozen=True)
class AggregationConfig:
    """How the server combines updates if some clients may attack."""

    aggregator: str = option(
        robust.MEAN,
        "How the server combines the updates of a round. mean: the mean; norm_bound: the mean of "
        "updates that are clipped to `update_norm_bound`; the others compare the updates with one "
        "another and withstand clients that send anything.",
        robust.AGGREGATORS,
    )
    byzantine_clients: int | None = option(
        None,
        ", ".join(robust.COUNTING)
        + ": number f of attackers in a round to withstand; empty: a fifth of "
        "`clients_per_round`, or fewer if the aggregator cannot withstand so many.",
    )
    update_norm_bound: float = option(1.0, "norm_bound: largest norm of an update.")
    clipping_radius: float | None = option(
        None,
        "centered_clipping: radius around the last round's result; empty: the median distance.",
    )
    max_update_gigabytes: float = option(
        4.0, "Largest memory for the updates of a round, for aggregators that compare them."
    )

    def __post_init__(self) -> None:
        checks.at_least(0, "byzantine_clients", self.byzantine_clients)
        checks.above_zero("update_norm_bound", self.update_norm_bound)
        checks.above_zero("max_update_gigabytes", self.max_update_gigabytes)
        if self.clipping_radius is not None:
            checks.above_zero("clipping_radius", self.clipping_radius)

    @property
    def compares(self) -> bool:
        """Whether the aggregator compares updates with one another."""
        return self.aggregator in robust.COMPARING

    def attackers_of(self, clients_per_round: int) -> int:
        """Returns the number of attackers in a round to withstand; 0 if none are counted.

        Raises:
          UserError: If a round has too few clients for the aggregator.
        """
        if not self.compares:
            return 0
        return robust.attackers_of(self.aggregator, clients_per_round, self.byzantine_clients)
