"""The rounds, the checkpoints and the seed."""

import dataclasses

from tff_nlp.runs import checks
from tff_nlp.runs.options import option


@dataclasses.dataclass(frozen=True)
class RoundsConfig:
    """Rounds, evaluation, checkpoints and seed."""

    rounds: int = option(20, "Number of training rounds.")
    eval_every: int = option(
        5, "Number of rounds between evaluations. The last round is always evaluated."
    )
    client_eval_examples: int = option(
        2000, "Approximate number of examples on which the clients' own tests are evaluated."
    )
    checkpoint_every: int = option(
        1, "Number of rounds between checkpoints. The last round always has one."
    )
    seed: int = option(0, "Seed of all random choices, except those that protect privacy.")

    def __post_init__(self) -> None:
        for name in ("rounds", "eval_every", "checkpoint_every", "client_eval_examples"):
            checks.at_least(1, name, getattr(self, name))
