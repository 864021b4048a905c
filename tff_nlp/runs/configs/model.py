"""The model."""

import dataclasses
import re

from tff_nlp.runs import checks
from tff_nlp.runs.configs.task_names import LANGUAGE_MODEL
from tff_nlp.runs.options import option

AUTO = "auto"


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The model that is trained."""

    encoder: str = option(
        AUTO,
        "minilm, random, a Hugging Face checkpoint folder, or the name of a KerasNLP preset; with "
        "`task`=language_model also smollm2 or a .gguf file of a Llama; auto: random with "
        "`task`=language_model, else minilm.",
        path=True,
    )
    encoder_layers: int = option(2, "Number of layers of `encoder`=random.")
    encoder_width: int = option(128, "Width of `encoder`=random.")
    encoder_heads: int = option(2, "Number of attention heads of `encoder`=random.")
    vocabulary_size: int = option(8000, "Maximum size of the vocabulary of `encoder`=random.")
    lowercase: bool | None = option(
        None, "Whether `encoder`=random converts texts to lower case; empty: yes."
    )
    strip_accents: bool | None = option(
        None,
        "Whether `encoder`=random removes the accents of Latin, Greek and Cyrillic letters; "
        "empty: no.",
    )
    decode_html_entities: bool = option(
        False,
        "Read &amp; as & and so on, in training, prediction and the exported model.",
    )
    pooling: str = option(
        "mean", "Output of the encoder that the head reads.", ("mean", "cls", "pooler")
    )
    dropout: float = option(0.1, "Dropout rate before the head.")
    trainable: str = option(
        "all", "Weights that train: all, no_embeddings, top_K (for example top_2), biases or head."
    )
    max_tokens: int = option(64, "Maximum number of tokens of a text; longer texts are cut.")
    compute_dtype: str = option(
        "float32",
        "Number type of the encoder's computations; weights stay float32. Use bfloat16 only on "
        "devices that support it.",
        ("float32", "bfloat16"),
    )

    def __post_init__(self) -> None:
        # Attention takes memory with the square of the length.
        in_range = 3 <= self.max_tokens <= 4096
        checks.check(in_range, "max_tokens", self.max_tokens, "from 3 to 4096")
        checks.check(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and below 1")
        valid = re.fullmatch(r"all|no_embeddings|top_[1-9]\d*|biases|head", self.trainable)
        names = "all, no_embeddings, top_K (for example top_2), biases or head"
        checks.check(bool(valid), "trainable", self.trainable, names)
        for name in ("encoder_layers", "encoder_width", "encoder_heads", "vocabulary_size"):
            checks.at_least(1, name, getattr(self, name))
        for name in ("lowercase", "strip_accents"):
            value = getattr(self, name)
            if value is not None and self.encoder != "random":
                why = "a pretrained encoder has its own setting; only `encoder`=random can choose"
                checks.refuse(name, value, why)

    def resolved(self, task: str) -> "ModelConfig":
        """Returns the config with the default encoder filled in.

        Args:
          task: Name of the task.
        """
        if self.encoder != AUTO:
            return self
        name = "random" if task == LANGUAGE_MODEL else "minilm"
        return dataclasses.replace(self, encoder=name)
