"""The three secure sums of TFF as sums of integers with their ranges enforced.

A simulation adds the integers in the clear; what it keeps of the real protocols is their
arithmetic: `federated_secure_sum_bitwidth` refuses inputs that need more bits,
`federated_secure_sum` refuses inputs above the maximum, and the modular sum wraps at its modulus.
"""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.execution import forms, graphs, structures


class RangeError(ValueError):
    """A client's input to a secure sum is outside of the range that the sum was built for."""


@dataclasses.dataclass(frozen=True)
class SecureSums:
    """The secure sums of one computation; values are flat lists of integer tensors.

    Attributes:
      kinds: For each summand "bitwidth", "max_input" or "modulus".
      limits: For each summand its bitwidth, largest input or modulus.
      specs: For each summand its shape and integer type.
    """

    kinds: tuple[str, ...]
    limits: tuple[int, ...]
    specs: tuple[tf.TensorSpec, ...]

    def zero(self) -> list[tf.Tensor]:
        """Returns the empty sums."""
        return [tf.zeros(s.shape, s.dtype) for s in self.specs]

    def add_client(self, sums: Sequence[tf.Tensor], inputs: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Adds a client's inputs.

        Raises:
          RangeError: If an input is negative or above what its sum allows.
        """
        for tensor, kind, limit in zip(inputs, self.kinds, self.limits, strict=True):
            self._check(tensor, kind, limit)
        return self.add(sums, inputs)

    def add(self, left: Sequence[tf.Tensor], right: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Adds two lists of sums."""
        result = []
        for a, b, kind, limit in zip(left, right, self.kinds, self.limits, strict=True):
            total = a + b
            result.append(
                tf.math.floormod(total, tf.cast(limit, total.dtype)) if kind == "modulus" else total
            )
        return result

    def _check(self, tensor: tf.Tensor, kind: str, limit: int) -> None:
        if kind == "modulus":
            return  # any integer has a remainder, as in TFF
        highest = limit if kind == "max_input" else 2**limit - 1
        low, high = int(tf.reduce_min(tensor)), int(tf.reduce_max(tensor))
        if low < 0 or high > highest:
            outside = low if low < 0 else high
            raise RangeError(f"a secure sum over the integers 0 to {highest} was given {outside}")


def build(form: forms.RoundForm) -> SecureSums:
    """Returns the secure sums of a round."""
    kinds: list[str] = []
    limits: list[int] = []
    specs: list[tf.TensorSpec] = []
    groups = (
        ("bitwidth", form.bitwidths),
        ("max_input", form.max_inputs),
        ("modulus", form.moduli),
    )
    for index, (kind, graph) in enumerate(groups, start=1):
        values = iter(graphs.wrap(graph)([]))
        summands = tff.structure.iter_elements(form.work.result_type[index])
        bounds = tff.structure.iter_elements(graph.result_type)
        for (_, summand), (_, bound) in zip(summands, bounds, strict=True):
            tensor_types = list(structures.flatten_types(summand))
            given = [int(next(values)) for _ in structures.flatten_types(bound)]
            # One bound serves a whole structure, or each of its tensors has one.
            given *= len(tensor_types) // len(given)
            kinds.extend(kind for _ in tensor_types)
            limits.extend(given)
            specs.extend(graphs.tensor_spec(t) for t in tensor_types)
    return SecureSums(tuple(kinds), tuple(limits), tuple(specs))
