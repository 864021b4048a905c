"""An attack on the texts of clients, to measure protections."""

import dataclasses

from tff_nlp.runs import checks
from tff_nlp.runs.options import option

UNPROTECTED, AS_RUN = "unprotected", "as_run"
SCENARIOS = (
    UNPROTECTED,
    AS_RUN,
    "adamw",
    "dropout",
    "local_steps",
    "8_bits",
    "top_k",
    "lora_first_round",
    "lora_later",
    "head",
    "secure_sum",
    "example_noise",
)


@dataclasses.dataclass(frozen=True)
class InversionConfig:
    """An attack on the texts of clients, to measure protections."""

    scenarios: str = option(
        ",".join(SCENARIOS),
        "What the attacked clients do, separated by commas. unprotected: one step of sgd on one "
        "batch, all weights, no dropout; as_run: the training of a client of the run, if it can be "
        "simulated; each other one is unprotected but for what its name says.",
    )
    sentences: int = option(2, "Number of texts in the attacked client's batch.")
    victims: int = option(5, "Number of attacked clients.")
    secure_sum_clients: int = option(10, "secure_sum: number of clients in the sum.")
    noise_multiplier: float = option(
        1.0, "example_noise: noise of DP-SGD over the clipping norm of 1, in the batch's sum."
    )
    seed: int = option(0, "Seed of the choice of clients and texts.")

    def __post_init__(self) -> None:
        for name in self.chosen():
            checks.check(name in SCENARIOS, "scenarios", name, f"some of {', '.join(SCENARIOS)}")
        for name in ("sentences", "victims", "secure_sum_clients"):
            checks.at_least(1, name, getattr(self, name))
        checks.above_zero("noise_multiplier", self.noise_multiplier)

    def chosen(self) -> tuple[str, ...]:
        """Returns the scenarios, without duplicates."""
        return tuple(dict.fromkeys(part.strip() for part in self.scenarios.split(",")))
