"""Public texts and distillation."""

import dataclasses
import re

from tff_nlp.runs import checks
from tff_nlp.runs.configs.model import AUTO, ModelConfig
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
    client_encoders: str = option(
        "",
        "fedmd, dsfl: models of the clients, separated by commas and given out in turn: values of "
        "`encoder`, or random:LAYERSxWIDTH; empty: all clients have the server's.",
        path=True,
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
        for name in self.parsed_encoders():
            sized = name.startswith("random:")
            valid = not sized or re.fullmatch(r"random:[1-9]\d*x[1-9]\d*", name)
            form = "a value of `encoder` other than auto, or random:LAYERSxWIDTH (random:1x64)"
            checks.check(name not in ("", AUTO) and bool(valid), "client_encoders", name, form)

    def parsed_encoders(self) -> tuple[str, ...]:
        """Returns the values of `client_encoders`."""
        return tuple(p.strip() for p in self.client_encoders.split(",") if self.client_encoders)

    def models(self, server: ModelConfig) -> tuple[ModelConfig, ...]:
        """Returns the models of the clients. Client c has the one with the number c modulo theirs.

        Args:
          server: The model of the server. What `client_encoders` does not say is as there.
        """
        return tuple(_model(name, server) for name in self.parsed_encoders()) or (server,)


def _model(name: str, server: ModelConfig) -> ModelConfig:
    if name.startswith("random:"):
        layers, width = map(int, name.removeprefix("random:").split("x"))
        return dataclasses.replace(
            server, encoder="random", encoder_layers=layers, encoder_width=width
        )
    if name == "random":
        return dataclasses.replace(server, encoder=name)
    # Only a random encoder can choose how it reads letters.
    return dataclasses.replace(server, encoder=name, lowercase=None, strip_accents=None)
