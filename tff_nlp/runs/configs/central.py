"""The length of central training."""

import dataclasses

from tff_nlp.runs import checks
from tff_nlp.runs.options import option


@dataclasses.dataclass(frozen=True)
class CentralConfig:
    """Length of central training."""

    epochs: int = option(2, "Passes over the training corpus.")
    warmup_fraction: float = option(0.1, "Share of the steps in which the learning rate rises.")
    decay_learning_rate: bool = option(True, "Decrease the learning rate linearly to 0.")
    evals_per_epoch: int = option(2, "Evaluations per epoch.")
    seed: int = option(0, "Seed of all random choices.")

    def __post_init__(self) -> None:
        checks.at_least(1, "epochs", self.epochs)
        checks.at_least(1, "evals_per_epoch", self.evals_per_epoch)
        checks.check(
            0 <= self.warmup_fraction < 1, "warmup_fraction", self.warmup_fraction, "in [0, 1)"
        )
