"""The configuration of predictions with a trained model."""

import dataclasses

from tff_nlp.runs import checks
from tff_nlp.runs.options import option


@dataclasses.dataclass(frozen=True)
class PredictionConfig:
    """Model, texts and output."""

    run: str = option("", "Folder of a run, or of an exported model.", path=True)
    file: str = option(
        "", "File of texts. A file without a known extension has one text per line.", path=True
    )
    output: str = option("", "New file for the output; empty: the terminal.", path=True)
    json: bool = option(False, "Write JSON, with the probabilities of all labels.")
    batch_size: int = option(64, "Number of texts in a batch.")

    def __post_init__(self) -> None:
        checks.at_least(1, "batch_size", self.batch_size)


@dataclasses.dataclass(frozen=True)
class GenerationConfig:
    """How a language model continues texts."""

    generate: bool = option(False, "Continue the texts. The model must be a language model.")
    max_new_tokens: int | None = option(
        None, "Maximum number of new tokens per text; empty: the setting of the exported model."
    )
    top_p: float = option(
        0.0,
        "Draw each token from the smallest set of most probable tokens with this total "
        "probability; 0: always take the most probable token.",
    )
    temperature: float = option(1.0, "Divisor of the logits before a token is drawn.")
    seed: int = option(0, "Seed of the drawn tokens.")

    def __post_init__(self) -> None:
        checks.at_least(1, "max_new_tokens", self.max_new_tokens)
        checks.check(0 <= self.top_p <= 1, "top_p", self.top_p, "from 0 to 1")
        checks.above_zero("temperature", self.temperature)
        for name, default in (
            ("max_new_tokens", None),
            ("top_p", 0.0),
            ("temperature", 1.0),
            ("seed", 0),
        ):
            if not self.generate and getattr(self, name) != default:
                checks.refuse(name, getattr(self, name), "only `generate` uses it")
