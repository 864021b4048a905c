"""The model."""

import dataclasses
import re

from tff_nlp.models import trained_weights
from tff_nlp.models.adapters import names
from tff_nlp.runs import checks
from tff_nlp.runs.configs.task_names import LANGUAGE_MODEL
from tff_nlp.runs.options import option

AUTO = "auto"
_COUNTS = (
    "encoder_layers",
    "encoder_width",
    "encoder_heads",
    "vocabulary_size",
    "lora_rank",
    "adapter_width",
    "prefix_length",
)


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
    encoder_dropout: float | None = option(
        None, "Dropout rate inside of the encoder; empty: the encoder's own rate."
    )
    trainable: str = option(
        AUTO,
        "Weights that train: all, no_embeddings, top_K (for example top_2), biases, head, or "
        "adapter (the adapter and the head); auto: adapter if there is one, else all.",
    )
    adapter: str = option(
        names.NONE,
        "Small trained weights in a frozen network: LoRA, bottlenecks or a prefix.",
        names.KINDS,
    )
    lora_rank: int = option(8, "Rank of the factors of `adapter`=lora.")
    lora_client_ranks: str = option(
        "",
        "Ranks of clients with `lora_aggregation`=flora, up to `lora_rank`, for example 2,4,8; "
        "each has the same share of clients. Empty: all have `lora_rank`.",
    )
    lora_alpha: float = option(16.0, "Their product is multiplied by this number / `lora_rank`.")
    lora_matrices: str = option(
        "query,value",
        f"Matrices of each layer that get factors, of {', '.join(names.MATRICES)}.",
    )
    lora_aggregation: str = option(
        names.FEDIT,
        "fedit: the mean of A and the mean of B; ffa: A stays fixed; fedsb: only a matrix between "
        "fixed A and B trains; fedex: the mean of the products A B, by a change of the frozen "
        "matrix; flora: the same, all of it in the frozen matrix, and A and B start anew; fedsa: "
        "the mean of A, and each client keeps its own B.",
        names.AGGREGATIONS,
    )
    adapter_width: int = option(64, "Width of the bottlenecks of `adapter`=houlsby.")
    prefix_length: int = option(16, "Number of positions of `adapter`=prefix.")
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
        for name in ("dropout", "encoder_dropout"):
            rate = getattr(self, name)
            checks.check(rate is None or 0 <= rate < 1, name, rate, "at least 0 and below 1")
        valid = re.fullmatch(
            r"auto|all|no_embeddings|top_[1-9]\d*|biases|head|adapter", self.trainable
        )
        choices = "auto, all, no_embeddings, top_K (for example top_2), biases, head or adapter"
        checks.check(bool(valid), "trainable", self.trainable, choices)
        for name in _COUNTS:
            checks.at_least(1, name, getattr(self, name))
        checks.above_zero("lora_alpha", self.lora_alpha)
        self._check_client_ranks()
        for name in self.parsed_matrices():
            known = ", ".join(names.MATRICES)
            checks.check(name in names.MATRICES, "lora_matrices", name, f"one of {known}")
        if not self.has_adapter and self.trainable == names.ADAPTER:
            checks.refuse("trainable", self.trainable, "there is no adapter without `adapter`")
        trained_weights.check(self.trainable, self.adapter)
        for name in ("lowercase", "strip_accents"):
            value = getattr(self, name)
            if value is not None and self.encoder != "random":
                why = "a pretrained encoder has its own setting; only `encoder`=random can choose"
                checks.refuse(name, value, why)

    @property
    def has_adapter(self) -> bool:
        """Whether the model has an adapter."""
        return self.adapter != names.NONE

    def parsed_matrices(self) -> tuple[str, ...]:
        """Returns the names of the matrices that get factors, without duplicates."""
        parts = (part.strip() for part in self.lora_matrices.split(","))
        return tuple(dict.fromkeys(parts))

    def parsed_client_ranks(self) -> tuple[int, ...]:
        """Returns the ranks of clients; empty if all have `lora_rank`."""
        if not self.lora_client_ranks:
            return ()
        try:
            return tuple(int(part) for part in self.lora_client_ranks.split(","))
        except ValueError:
            numbers = "whole numbers with commas between them"
            checks.refuse("lora_client_ranks", self.lora_client_ranks, f"must be {numbers}")

    def _check_client_ranks(self) -> None:
        for rank in self.parsed_client_ranks():
            in_range = 1 <= rank <= self.lora_rank
            limit = f"from 1 to `lora_rank`={self.lora_rank}"
            checks.check(in_range, "lora_client_ranks", rank, limit)
        if self.lora_client_ranks and self.lora_aggregation != names.FLORA:
            why = (
                "a client of a small rank would lose a part of B; take `lora_aggregation`=flora, "
                "where B is zero at the start of each round"
            )
            checks.refuse("lora_client_ranks", self.lora_client_ranks, why)

    def resolved(self, task: str) -> "ModelConfig":
        """Returns the config with the default encoder and the trained weights filled in.

        Args:
          task: Name of the task.

        Raises:
          UserError: If a model for the task cannot have the adapter or train these weights.
        """
        encoder, trainable = self.encoder, self.trainable
        if encoder == AUTO:
            encoder = "random" if task == LANGUAGE_MODEL else "minilm"
        if trainable == AUTO:
            trainable = names.ADAPTER if self.has_adapter else "all"
        if task == LANGUAGE_MODEL:
            trained_weights.check_decoder(trainable, self.adapter)
        return dataclasses.replace(self, encoder=encoder, trainable=trainable)
