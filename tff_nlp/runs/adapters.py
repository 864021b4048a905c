"""The adapter that the config of a model describes."""

from tff_nlp.models.adapters import adapter, lora, names
from tff_nlp.runs.configs.model import ModelConfig


def adapter_of(config: ModelConfig) -> adapter.Adapter:
    """Returns the adapter of a resolved config."""
    return adapter.Adapter(
        kind=config.adapter,
        low_rank=lora.Lora(
            rank=config.lora_rank,
            alpha=config.lora_alpha,
            matrices=config.parsed_matrices(),
            freezes_a=config.lora_aggregation == names.FFA,
            core=config.lora_aggregation == names.FEDSB,
        ),
        width=config.adapter_width,
        prefix_length=config.prefix_length,
    )
