"""Which adapter a network gets, and the weights that it brings."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from tff_nlp.errors import UserError, setting
from tff_nlp.models import functional
from tff_nlp.models.adapters import houlsby, lora, prefix
from tff_nlp.models.adapters.names import HOULSBY, KINDS, LORA, NONE, PREFIX


@dataclasses.dataclass(frozen=True)
class Adapter:
    """Which adapter a network gets.

    Attributes:
      kind: One of `names.KINDS`.
      low_rank: The options of "lora".
      width: Width of the bottlenecks of "houlsby".
      prefix_length: Number of positions of "prefix".
    """

    kind: str = NONE
    low_rank: lora.Lora = lora.Lora()
    width: int = 64
    prefix_length: int = 16


@dataclasses.dataclass(frozen=True, eq=False)
class Attached:
    """An adapter in a network.

    Attributes:
      trains: Its variables that train.
      stays: Its variables that stay as they are.
      low_rank: The layers with low-rank factors.
    """

    trains: tuple[Any, ...] = ()
    stays: tuple[Any, ...] = ()
    low_rank: tuple[lora.LowRankDense, ...] = ()

    def factors(
        self, chosen: Sequence[functional.Weight], rest: Sequence[functional.Weight]
    ) -> tuple[lora.Factors, ...]:
        """Returns the places of the low-rank factors of which both train.

        Args:
          chosen: The trainable weights.
          rest: The frozen weights.
        """
        return lora.factors_of(
            self.low_rank, [w.variable for w in chosen], [w.variable for w in rest]
        )


def attach(backbone: Any, adapter: Adapter, seed: int) -> Attached:
    """Puts an adapter into all transformer layers of a backbone.

    Args:
      backbone: A built KerasNLP backbone with its weights.
      adapter: The adapter.
      seed: Seed of the run, for the initial weights.

    Raises:
      UserError: If the kind is unknown, or an option is not possible for this network.
    """
    if adapter.kind == NONE:
        return Attached()
    if adapter.kind == LORA:
        return _low_rank(lora.attach(backbone, adapter.low_rank, seed), adapter.low_rank)
    if adapter.kind == HOULSBY:
        bottlenecks = houlsby.attach(backbone, adapter.width, seed)
        return Attached(
            tuple(
                variable
                for layer in bottlenecks
                for variable in (
                    layer.kernel_down,
                    layer.bias_down,
                    layer.kernel_up,
                    layer.bias_up,
                )
            )
        )
    if adapter.kind == PREFIX:
        prefixes = prefix.attach(backbone, adapter.prefix_length, seed)
        return Attached(tuple(v for part in prefixes for v in (part.prefix_key, part.prefix_value)))
    raise UserError(f"{setting('adapter', adapter.kind)}: must be one of {', '.join(KINDS)}")


def _low_rank(layers: list[lora.LowRankDense], options: lora.Lora) -> Attached:
    """Returns the factors, divided into those that train and those that stay."""
    trains, stays = [], []
    for layer in layers:
        if layer.lora_core is not None:
            trains.append(layer.lora_core)
            stays += [layer.lora_a, layer.lora_b]
            continue
        (stays if options.freezes_a else trains).append(layer.lora_a)
        trains.append(layer.lora_b)
    return Attached(tuple(trains), tuple(stays), tuple(layers))
