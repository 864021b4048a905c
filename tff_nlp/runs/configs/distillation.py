"""Public texts and distillation."""

import dataclasses

from tff_nlp.runs import checks
from tff_nlp.runs.options import option


@dataclasses.dataclass(frozen=True)
class DistillationConfig:
    """Public texts, and how models learn from outputs on them."""

    public_corpus: str = option(
        "",
        "feddf, fedmd, dsfl: texts that the server and all clients have, in the format of "
        "`corpus`; labels are not read. Empty: some training texts are set apart, at most a tenth.",
        path=True,
    )
    public_examples: int = option(
        1000, "Largest number of public texts; random ones are taken from a larger corpus."
    )
    distillation_epochs: int = option(1, "Number of passes over the public texts in a round.")
    distillation_learning_rate: float | None = option(
        None, "Learning rate of the distillation; empty: `client_learning_rate`."
    )
    dsfl_temperature: float = option(
        0.1, "dsfl: temperature of the mean of the probabilities; below 1, it sharpens the mean."
    )

    def __post_init__(self) -> None:
        checks.at_least(1, "public_examples", self.public_examples)
        checks.at_least(1, "distillation_epochs", self.distillation_epochs)
        if self.distillation_learning_rate is not None:
            checks.above_zero("distillation_learning_rate", self.distillation_learning_rate)
        checks.above_zero("dsfl_temperature", self.dsfl_temperature)
