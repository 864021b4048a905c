"""The partition into clients, and the sampling of cohorts."""

import dataclasses

from tff_nlp.clients import partitions
from tff_nlp.privacy import names
from tff_nlp.runs import checks
from tff_nlp.runs.options import option


@dataclasses.dataclass(frozen=True)
class ClientsConfig:
    """Partition into clients, and sampling of cohorts."""

    partition: str = option(
        "auto",
        "How examples are assigned to clients. natural: one client per value of `client_column`; "
        "grouped: several values per client; domains: `clients_per_domain` clients per value; iid, "
        "dirichlet, shards, quantity: synthetic; auto: natural if the corpus has clients, else "
        "iid.",
        ("auto", *partitions.KINDS),
    )
    num_clients: int = option(100, "Number of clients, for grouped and synthetic partitions.")
    clients_per_domain: int = option(1, "domains: number of clients per value of `client_column`.")
    dirichlet_alpha: float = option(
        0.5, "Concentration of dirichlet and quantity; small values are skewed."
    )
    shards_per_client: int = option(2, "shards: number of shards of sorted labels per client.")
    min_examples_per_client: int = option(1, "Minimum number of examples of a client.")
    client_test_fraction: float = option(
        0.1, "Share of each client's examples for the client's own test."
    )
    client_validation_fraction: float | None = option(
        None,
        "Share of each client's examples for validation. The validation part selects the best "
        "round; the test set never does. Empty: 0.1 with `personalize`=fine_tune, else 0.",
    )
    held_out_fraction: float = option(
        0.0, "Share of the clients that never train and are only tested."
    )
    alone: str = option(
        "",
        "Name of a domain of `partition`=domains. Its clients also train without the other "
        "domains, for the same number of rounds, and the scores are compared.",
    )
    clients_per_round: int = option(
        10, "Size of the cohort; with `sampling`=poisson the expected size."
    )
    sampling: str = option(
        "auto",
        "How a cohort is drawn. fixed: that many clients without replacement; poisson: each client "
        "independently; cyclic: all clients in turn, in a random order; auto: what `dp` needs, or "
        "fixed without `dp`.",
        (names.AUTO, *names.DRAWS),
    )

    def __post_init__(self) -> None:
        for name in (
            "num_clients",
            "clients_per_domain",
            "shards_per_client",
            "min_examples_per_client",
            "clients_per_round",
        ):
            checks.at_least(1, name, getattr(self, name))
        checks.above_zero("dirichlet_alpha", self.dirichlet_alpha)
        for name in ("client_validation_fraction", "client_test_fraction", "held_out_fraction"):
            value = getattr(self, name)
            good = value is None or 0 <= value < 1
            checks.check(good, name, value, "at least 0 and below 1")
