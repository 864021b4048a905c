"""The devices of clients in a simulation with a virtual clock."""

import dataclasses

from tff_nlp.clients import devices
from tff_nlp.runs import checks
from tff_nlp.runs.options import option

DROP, PARTIAL = "drop", "partial"


@dataclasses.dataclass(frozen=True)
class DevicesConfig:
    """The devices of clients, and how long the server waits for them."""

    device_profiles: str = option(
        "",
        "Speed, connection and hours of each client's device, for a virtual clock. phones, equal: "
        "made up; or a CSV file (docs/devices.md). Empty: no clock, or phones with "
        "`algorithm`=fedbuff.",
        path=True,
    )
    over_selection: float = option(
        1.0, "The server asks so many times `clients_per_round` clients and takes the fastest."
    )
    round_deadline: float | None = option(
        None, "Seconds of the virtual clock after which a round ends; empty: no deadline."
    )
    stragglers: str = option(
        DROP,
        "Clients that are not ready at `round_deadline`. drop: the round goes on without them; "
        "partial: they take fewer local steps.",
        (DROP, PARTIAL),
    )
    concurrency: int | None = option(
        None,
        "fedbuff: number of clients that train at the same time; empty: twice `clients_per_round`, "
        "which is the number of updates that make a new model.",
    )

    def __post_init__(self) -> None:
        wanted = self.over_selection
        checks.check(1 <= wanted < 1e6, "over_selection", wanted, "1 or more")
        if self.round_deadline is not None:
            checks.above_zero("round_deadline", self.round_deadline)
        checks.at_least(1, "concurrency", self.concurrency)
        if self.stragglers == PARTIAL and self.round_deadline is None:
            checks.refuse("stragglers", PARTIAL, "needs a `round_deadline`")

    def resolved(self, algorithm: str) -> "DevicesConfig":
        """Returns the config with the default profile of an algorithm filled in.

        Raises:
          UserError: If an option has no effect without devices, or with this algorithm.
        """
        asynchronous, why = algorithm == "fedbuff", ""
        if asynchronous:
            why = "`algorithm`=fedbuff does not wait for a round's clients; leave it out"
        elif not self.device_profiles:
            why = "needs a clock; give `device_profiles`"
        for name, default in (("over_selection", 1.0), ("round_deadline", None)):
            value = getattr(self, name)
            if why and value != default:
                checks.refuse(name, value, why)
        if asynchronous and not self.device_profiles:
            return dataclasses.replace(self, device_profiles=devices.PHONES)
        return self
