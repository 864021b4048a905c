"""What a process does with its clients, as plain values that the contract checks."""

import dataclasses

from tff_nlp import errors
from tff_nlp.aggregation.secure_aggregation import demands
from tff_nlp.privacy import names
from tff_nlp.privacy.properties import Properties

# Algorithms whose clients send outputs on public texts, and no weights.
SENDS_OUTPUTS = ("fedmd", "dsfl")
# Algorithms with a model of its own for each client.
OWN_MODELS = ("fedper", "ditto", *SENDS_OUTPUTS, "fedsa")


@dataclasses.dataclass(frozen=True)
class Violation:
    """A setting that is not compatible with another one.

    Attributes:
      sentence: The argument with its value, the reason, and a setting to take instead, as marked
        text (`errors`).
      may_pass: Whether `allow_dp_mismatch` permits it, for a run that claims no epsilon.
    """

    sentence: str
    may_pass: bool = True

    def refusal(self) -> str:
        """Returns the sentence, and how to continue anyway if that is possible."""
        way_out = "; or `allow_dp_mismatch` to train without it" if self.may_pass else ""
        return self.sentence + way_out


@dataclasses.dataclass(frozen=True)
class Conduct:
    """What a process does with its clients in every round.

    Attributes:
      algorithm: The algorithm's name.
      aggregator: Properties of the aggregator of updates.
      by_example: Whether clients train with DP-SGD.
      weighting: "uniform", or "examples".
      dependence: Why the loss of an example depends on other examples, as a whole sentence; empty
        if it does not.
      sends_sums: Whether a client may send values that depend on the sums of its losses.
      audited: Whether there are canaries among the clients.
      allow_dp_mismatch: Whether the process may violate the assumptions of its accountant, because
        no epsilon is claimed.
    """

    algorithm: str = "fedavg"
    aggregator: Properties = Properties()
    by_example: bool = False
    weighting: str = "uniform"
    dependence: str = ""
    sends_sums: bool = False
    audited: bool = False
    allow_dp_mismatch: bool = False

    @property
    def is_private(self) -> bool:
        """Whether an epsilon may be claimed, for clients or for examples."""
        return self.by_example or self.aggregator.protects_clients


@dataclasses.dataclass(frozen=True)
class Masked:
    """The parameters of the protocol of masked sums.

    Attributes:
      clients_per_round: Size of the cohort.
      demanded: The demands of each client.
      threshold: Number of clients that must stay to the end; None for the smallest safe number.
    """

    clients_per_round: int
    demanded: demands.Demands = demands.Demands()
    threshold: int | None = None


@dataclasses.dataclass(frozen=True)
class Rounds:
    """How the rounds of a process are drawn and run.

    Attributes:
      sampling: How cohorts are drawn: "poisson", "fixed" or "cyclic".
      poisson_batches: Whether each example joins each batch independently.
      adjacency: How neighbouring data sets differ: one of `names.ADJACENCIES`.
      max_failed_clients: Number of clients that may fail in a round. The round continues without
        them.
      context: The name of the execution context.
      secure_sums: How secure sums are computed: "plain" or "masked".
      masked: Parameters of masked or encrypted sums; None if they are not known before the rounds.
      by_devices: Whether the devices of clients decide which of them take part.
    """

    sampling: str
    poisson_batches: bool = False
    adjacency: str = names.AUTO
    max_failed_clients: int = 0
    context: str = "streaming"
    secure_sums: str = names.PLAIN
    masked: Masked | None = None
    by_devices: bool = False

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("sampling", self.sampling, names.DRAWS),
            ("adjacency", self.adjacency, names.ADJACENCIES),
        ):
            if value not in choices:
                raise errors.UserError(
                    f"{errors.setting(name, value)}: choose one of {', '.join(choices)}"
                )
