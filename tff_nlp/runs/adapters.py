"""The adapter of a model: from its config, to a file, and from a file."""

import pathlib
from typing import TYPE_CHECKING, Any

from tff_nlp.models.adapters import adapter, folding, lora, names
from tff_nlp.runs.configs.model import ModelConfig

if TYPE_CHECKING:
    import tensorflow_federated as tff

    from tff_nlp.runs.learner import Learner


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


def describe(config: ModelConfig) -> str:
    """Returns which weights train, as part of a sentence."""
    parts = [] if config.trainable == names.ADAPTER else [config.trainable]
    if config.adapter == names.LORA:
        matrices = " and ".join(config.parsed_matrices())
        parts.insert(
            0, f"LoRA of rank {config.lora_rank} in {matrices} ({config.lora_aggregation})"
        )
    elif config.adapter != names.NONE:
        parts.insert(0, config.adapter)
    return f"trains {' and '.join(parts)}"


def save(learner: "Learner", weights: Any, path: str | pathlib.Path) -> None:
    """Writes the adapter of a trained model, with all else that differs from the frozen network.

    Args:
      learner: The model.
      weights: Its weights, `trainable` and `non_trainable`.
      path: The file, with the ending .npz.

    Raises:
      WriteError: If the file cannot be written.
    """
    folding.save(pathlib.Path(path), learner.model, weights.trainable, weights.non_trainable)


def load(learner: "Learner", path: str | pathlib.Path) -> "tff.learning.models.ModelWeights":
    """Returns the weights of a model with a saved adapter, for `learner.predict` and so on.

    Args:
      learner: A model with the same encoder and the same options of the adapter.
      path: The file, `adapter.npz` of a run.

    Raises:
      UserError: If the file cannot be read, or belongs to another network or adapter.

    Example:
      ```
      classifier = tff_nlp.build_classifier(train, adapter="lora")
      weights = adapters.load(classifier, "runs/reviews/adapter.npz")
      print(classifier.predict(weights, ["Not bad at all."]))
      ```
    """
    import tensorflow_federated as tff

    return tff.learning.models.ModelWeights(*folding.load(pathlib.Path(path), learner.model))
