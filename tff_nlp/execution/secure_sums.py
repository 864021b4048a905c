"""TFF's three secure sums, as sums of integers with checked ranges.

A simulation adds the integers in the clear, with the same arithmetic as a real protocol:
`federated_secure_sum_bitwidth` refuses inputs that need more bits, `federated_secure_sum` refuses
inputs above the maximum, and the modular sum wraps at its modulus.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.execution import forms, graphs, structures


@dataclasses.dataclass(frozen=True)
class Summand:
    """One tensor that clients send to a secure sum.

    Attributes:
      kind: "bitwidth", "max_input" or "modulus".
      limit: The bitwidth, the largest input or the modulus, depending on `kind`.
      spec: Shape and integer type of the tensor.
    """

    kind: str
    limit: int
    spec: tf.TensorSpec

    @property
    def highest(self) -> int:
        """The largest valid input. For a modular sum, the largest remainder."""
        if self.kind == "bitwidth":
            return 2**self.limit - 1
        return self.limit if self.kind == "max_input" else self.limit - 1

    @property
    def bits(self) -> int:
        """The number of bits of one integer when it is sent."""
        return max(self.highest.bit_length(), 1)

    def modulus_for(self, clients: int) -> int:
        """Returns a modulus above the largest sum over this many clients.

        A modular sum has its own modulus, which is returned.
        """
        if self.kind == "modulus":
            return self.limit
        return max(2, 1 << (clients * self.highest).bit_length())

    def check(self, tensor: tf.Tensor) -> list[tf.Operation]:
        """Returns operations that fail if the input is out of range.

        A modular sum accepts every integer, as in TFF, because every integer has a remainder.
        """
        if self.kind == "modulus":
            return []
        low = tf.reduce_min(tf.cast(tensor, tf.int64))
        high = tf.reduce_max(tf.cast(tensor, tf.int64))
        fits = tf.equal(tf.size(tensor), 0) | ((low >= 0) & (high <= min(self.highest, 2**63 - 1)))
        message = f"a secure sum of integers from 0 to {self.highest} got the input"
        return [tf.debugging.Assert(fits, [message, tf.where(low < 0, low, high)])]

    def add(self, left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
        """Adds two partial sums."""
        if self.kind != "modulus":
            return left + right
        modulus = tf.cast(self.limit, self.spec.dtype)
        # This value is between -modulus and modulus. The plain sum might overflow the type.
        total = tf.math.floormod(left, modulus) - (modulus - tf.math.floormod(right, modulus))
        return tf.where(total < 0, total + modulus, total)


class Summation(Protocol):
    """One round of a protocol that computes sums without revealing the summands.

    Several threads may add inputs.
    """

    def add_input(self, client: int, tensors: Sequence[np.ndarray]) -> None:
        """Adds the integers of a client.

        Args:
          client: Position of the client in the round.
          tensors: One flat integer array per summand.
        """

    def finish(self) -> Sequence[np.ndarray]:
        """Returns the sums over the clients that added inputs, each from 0 to modulus - 1."""


# (positions of the round's clients, (number of integers, modulus) of each tensor) -> the protocol
# of the round.
Protocols = Callable[[Sequence[int], Sequence[tuple[int, int]]], Summation]


class HiddenSums:
    """The secure sums of one round, computed by a protocol instead of in the clear."""

    def __init__(
        self, summands: Sequence[Summand], clients: Sequence[int], protocols: Protocols
    ) -> None:
        """Begins a round.

        Args:
          summands: The secure sums of the round.
          clients: The positions of the round's clients.
          protocols: Returns the protocol of a round.
        """
        self._summands = summands
        sizes = [int(np.prod(s.spec.shape.as_list(), dtype=np.int64)) for s in summands]
        moduli = [s.modulus_for(len(clients)) for s in summands]
        self._protocol = protocols(clients, list(zip(sizes, moduli, strict=True)))

    def add(self, client: int, inputs: Sequence[tf.Tensor]) -> None:
        """Adds the inputs of a client, one tensor per summand."""
        self._protocol.add_input(client, [np.ravel(tensor.numpy()) for tensor in inputs])

    def finish(self) -> list[tf.Tensor]:
        """Returns the sums over the clients that added inputs, with the summands' specs."""
        return [
            tf.constant(total.reshape(s.spec.shape.as_list()), s.spec.dtype)
            for s, total in zip(self._summands, self._protocol.finish(), strict=True)
        ]


def zero(summands: Sequence[Summand]) -> list[tf.Tensor]:
    """Returns sums of zero, one per summand."""
    return [tf.zeros(s.spec.shape, s.spec.dtype) for s in summands]


def add(
    summands: Sequence[Summand], left: Sequence[tf.Tensor], right: Sequence[tf.Tensor]
) -> list[tf.Tensor]:
    """Adds two lists of partial sums."""
    return [s.add(a, b) for s, a, b in zip(summands, left, right, strict=True)]


def total(
    summands: Sequence[Summand],
    clients: Sequence[Sequence[tf.Tensor]],
    protocols: Protocols | None = None,
) -> list[tf.Tensor]:
    """Returns the sums of the tensors that clients send.

    Args:
      summands: The secure sums.
      clients: The tensors of each client, one per summand.
      protocols: Protocol that computes the sums. None adds the values in the clear.

    Raises:
      InvalidArgumentError: If a tensor is out of range.
    """
    for tensors in clients:
        for summand, tensor in zip(summands, tensors, strict=True):
            summand.check(tensor)
    if protocols is not None and summands:
        hidden = HiddenSums(summands, range(len(clients)), protocols)
        for position, tensors in enumerate(clients):
            hidden.add(position, tensors)
        return hidden.finish()
    sums = zero(summands)
    for tensors in clients:
        sums = add(summands, sums, tensors)
    return sums


def with_bounds(kind: str, bounds: Sequence[int], value_type: tff.Type) -> list[Summand]:
    """Returns the summands of a value.

    Args:
      kind: As in `Summand`.
      bounds: One bound for all tensors of the value, or one bound per tensor.
      value_type: The type of the value.
    """
    types = list(structures.flatten_types(value_type))
    each = list(bounds) * (len(types) // len(bounds)) if bounds else []
    return [
        Summand(kind, bound, graphs.tensor_spec(tensor_type))
        for bound, tensor_type in zip(each, types, strict=True)
    ]


def summands_of(form: forms.RoundForm) -> tuple[Summand, ...]:
    """Returns the summands of a round, in the order of the work's secure-sum inputs."""
    return tuple(_summands(form))


def _summands(form: forms.RoundForm) -> Iterator[Summand]:
    groups = (
        ("bitwidth", form.bitwidths),
        ("max_input", form.max_inputs),
        ("modulus", form.moduli),
    )
    for index, (kind, graph) in enumerate(groups, start=1):
        values = iter(graphs.wrap(graph)([]))
        inputs = tff.structure.iter_elements(form.work.result_type[index])
        bounds = tff.structure.iter_elements(graph.result_type)
        for (_, value_type), (_, bound_type) in zip(inputs, bounds, strict=True):
            given = [int(next(values)) for _ in structures.flatten_types(bound_type)]
            yield from with_bounds(kind, given, value_type)
