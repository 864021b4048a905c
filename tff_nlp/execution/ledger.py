"""The byte ledger: how much a real deployment would send per client and round.

The sizes come from the compiled types. The ledger counts the tensors, without the framing of a
transport. For a secure sum it counts the bits that the integers need; masked integers need log2 of
the cohort size more. A protocol may send other messages too; the ledger counts them if the caller
gives their size.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.execution import forms, graphs, secure_sums

# Number of integers and of packed bytes of each vector that is summed securely -> bytes that the
# protocol makes a client send and receive in addition to the packed vectors.
Overhead = Callable[[Sequence[tuple[int, int]]], tuple[int, int]]

PROTOCOL = "secure protocol"
_FROZEN, _TRAINABLE, _LIKE = "non_trainable", "trainable", "like"


@dataclasses.dataclass(frozen=True)
class Part:
    """Some of the tensors that are sent.

    Attributes:
      direction: "down" or "up" in every round, or "once" for what a client keeps.
      name: Name of the part, as in `ByteLedger.parts`.
      bytes: Total size in bytes of the tensors of known size.
      unknown: Number of tensors of unknown size (strings, dynamic shapes). `bytes` does not include
        them.
    """

    direction: str
    name: str
    bytes: int
    unknown: int = 0


@dataclasses.dataclass(frozen=True)
class ByteLedger:
    """Bytes per client.

    Attributes:
      down: Bytes from the server to a client in every round.
      up: Bytes from a client to the server in every round.
      once: Bytes from the server to a client once: frozen weights, which never change.
      parts: The parts of these totals. "down" has "weights" and "round settings". "up" has "update"
        and "weight and metrics", or "secure update" and "secure weight and metrics" for values in
        secure sums. "down" and "up" have `PROTOCOL` if a protocol computes the secure sums. "once"
        has "frozen weights".
    """

    down: int
    up: int
    once: int
    parts: tuple[Part, ...]

    def bytes_of(self, direction: str, name: str) -> int:
        """Returns the bytes of a part, or 0 if there is no such part."""
        return sum(p.bytes for p in self.parts if (p.direction, p.name) == (direction, name))

    def without(self, direction: str, name: str, saved: int) -> "ByteLedger":
        """Returns a ledger with fewer bytes in one part and in the total of its direction.

        Args:
          direction: "down" or "up".
          name: Name of the part.
          saved: Number of bytes that are not sent.
        """
        parts = tuple(
            dataclasses.replace(part, bytes=part.bytes - saved)
            if (part.direction, part.name) == (direction, name)
            else part
            for part in self.parts
        )
        totals = {direction: getattr(self, direction) - saved}
        return dataclasses.replace(self, **totals, parts=parts)

    @property
    def lower_bound(self) -> bool:
        """Whether the ledger is a lower bound, because some tensors have an unknown size."""
        return any(part.unknown for part in self.parts)


@dataclasses.dataclass(frozen=True)
class _Leaf:
    """A tensor that is sent."""

    path: tuple[str, ...]
    spec: tf.TensorSpec
    bits: int | None = None

    @property
    def bytes(self) -> int | None:
        """The size of the packed tensor in bytes, or None if the type does not determine it."""
        if self.spec.dtype == tf.string or not self.spec.shape.is_fully_defined():
            return None
        bits = self.spec.dtype.size * 8 if self.bits is None else self.bits
        return math.ceil(self.spec.shape.num_elements() * bits / 8)


def frozen_places(form: forms.RoundForm) -> list[int]:
    """Returns the positions of the frozen weights among the flat tensors of the broadcast."""
    leaves = _leaves(form.prepare.result_type)
    return [place for place, leaf in enumerate(leaves) if _FROZEN in leaf.path]


def of_form(
    form: forms.RoundForm, *, cohort: int = 1, overhead: Overhead | None = None
) -> ByteLedger:
    """Counts the bytes of a compiled round.

    Args:
      form: The compiled round.
      cohort: Number of clients per round. The integers of a secure sum get log2(cohort) more bits,
        so that the sum fits. Modular sums need no more bits, because the modulus already allows
        for the sum.
      overhead: Bytes that the secure-sum protocol adds. None for no protocol.
    """
    broadcast = list(_leaves(form.prepare.result_type))
    frozen = [leaf for leaf in broadcast if _FROZEN in leaf.path]
    weights = [leaf for leaf in broadcast if _TRAINABLE in leaf.path]
    settings = [leaf for leaf in broadcast if leaf not in frozen and leaf not in weights]
    sent, *_ = (t for _, t in tff.structure.iter_elements(form.work.result_type))
    # Results that are placed at clients stay at the client.
    kept = {place for places in form.client_values for place in places}
    plain = [leaf for place, leaf in enumerate(_leaves(sent)) if place not in kept]
    secure = list(_secure_leaves(form, cohort))
    update = _update_among(plain, secure, [leaf.spec.shape for leaf in weights])
    parts = [
        _part("once", "frozen weights", frozen),
        _part("down", "weights", weights),
        _part("down", "round settings", settings),
    ]
    for prefix, leaves in (("", plain), ("secure ", secure)):
        rest = [leaf for leaf in leaves if leaf not in update]
        parts += [
            _part("up", f"{prefix}update", [leaf for leaf in leaves if leaf in update]),
            _part("up", f"{prefix}weight and metrics", rest),
        ]
    if overhead is not None and secure:
        sizes = [(leaf.spec.shape.num_elements(), leaf.bytes or 0) for leaf in secure]
        sent_beside, received_beside = overhead(sizes)
        parts += [Part("up", PROTOCOL, sent_beside), Part("down", PROTOCOL, received_beside)]
    totals = {d: sum(p.bytes for p in parts if p.direction == d) for d in ("down", "up", "once")}
    return ByteLedger(**totals, parts=tuple(p for p in parts if p.bytes or p.unknown))


def _part(direction: str, name: str, leaves: Sequence[_Leaf]) -> Part:
    sizes = [leaf.bytes for leaf in leaves]
    return Part(direction, name, sum(s or 0 for s in sizes), sizes.count(None))


def _leaves(type_spec: tff.Type, path: tuple[str, ...] = ()) -> Iterator[_Leaf]:
    if isinstance(type_spec, tff.StructType):
        for index, (name, element) in enumerate(tff.structure.iter_elements(type_spec)):
            yield from _leaves(element, (*path, name or str(index)))
    else:
        yield _Leaf(path, graphs.tensor_spec(type_spec))


def _secure_leaves(form: forms.RoundForm, cohort: int) -> Iterator[_Leaf]:
    growth = max(cohort - 1, 0).bit_length()
    for index, summand in enumerate(secure_sums.summands_of(form)):
        bits = summand.bits + (0 if summand.kind == "modulus" else growth)
        yield _Leaf((f"secure {index}",), summand.spec, min(bits, summand.spec.dtype.size * 8))


def _update_among(
    plain: Sequence[_Leaf], secure: Sequence[_Leaf], shapes: Sequence[tf.TensorShape]
) -> Sequence[_Leaf]:
    """Returns the tensors that carry the model's update.

    They are the tensors with the shapes of the trainable weights, in the same order. An aggregator
    that encodes the update changes the shapes. Then the update is what has tensors without bytes
    beside it, named "like" (`compression.coding.Encoded`), or else the largest summand.
    """
    count = len(shapes)
    for leaves in (plain, secure):
        for start in range(len(leaves) - count + 1 if count else 0):
            if [leaf.spec.shape for leaf in leaves[start : start + count]] == list(shapes):
                return leaves[start : start + count]
    for leaf in plain:
        if _LIKE in leaf.path:
            place = leaf.path[: leaf.path.index(_LIKE)]
            return [other for other in plain if other.path[: len(place)] == place]
    summands: dict[str, list[_Leaf]] = {}
    for leaf in (*plain, *secure):
        summands.setdefault(leaf.path[0], []).append(leaf)
    largest: list[_Leaf] = max(
        summands.values(), key=lambda s: sum(leaf.bytes or 0 for leaf in s), default=[]
    )
    return largest
