"""What is inside each message, as frozen values that turn into bytes and back.

Decoding takes one form only: lists ascend by client and do not repeat, and no byte is left over.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from tff_nlp.aggregation.secure_aggregation import (
    envelope,
    keys,
    modular,
    packing,
    refusals,
    session,
    sharing,
    wire,
)

ADVERTISED_MESSAGE_BYTES = envelope.BYTES + 2 * keys.PUBLIC_BYTES


@dataclasses.dataclass(frozen=True)
class AdvertisedKeys:
    """A client's public keys of this session.

    Attributes:
      share_key: For encrypting shares; c^PK in the paper.
      mask_key: For pairwise masks; s^PK in the paper.
    """

    share_key: bytes
    mask_key: bytes

    def encode(self) -> bytes:
        """Returns the payload."""
        return self.share_key + self.mask_key


def decode_advertised_keys(payload: memoryview) -> AdvertisedKeys:
    """Returns the keys of a payload."""
    reader = wire.Reader(payload)
    found = AdvertisedKeys(reader.take(keys.PUBLIC_BYTES), reader.take(keys.PUBLIC_BYTES))
    reader.end()
    return found


def encode_roster(messages: Mapping[int, bytes]) -> bytes:
    """Returns the payload that hands on the clients' own messages, with their signatures."""
    return wire.u32(len(messages)) + b"".join(messages[client] for client in sorted(messages))


def decode_roster(payload: memoryview) -> list[bytes]:
    """Returns the clients' messages of a roster."""
    reader = wire.Reader(payload)
    size = ADVERTISED_MESSAGE_BYTES
    found = [reader.take(size) for _ in range(reader.count(size))]
    reader.end()
    return found


@dataclasses.dataclass(frozen=True)
class SharedKeys:
    """A client's secrets, shared out.

    Attributes:
      commitment: Binds the client to its self mask (see `keys.commitment`).
      sealed: By recipient, a share of the mask key and one of the self mask's seed, encrypted.
    """

    commitment: bytes
    sealed: Mapping[int, bytes]

    def encode(self) -> bytes:
        """Returns the payload."""
        return self.commitment + encode_sealed(self.sealed)


def decode_shared_keys(payload: memoryview) -> SharedKeys:
    """Returns the shares of a payload."""
    if len(payload) < keys.COMMITMENT_BYTES:
        raise refusals.MessageRejectedError("a message is shorter than its form")
    commitment = bytes(payload[: keys.COMMITMENT_BYTES])
    return SharedKeys(commitment, decode_sealed(payload[keys.COMMITMENT_BYTES :]))


def encode_sealed(sealed: Mapping[int, bytes]) -> bytes:
    """Returns encrypted shares by client (sender or recipient) as a payload."""
    return wire.u32(len(sealed)) + b"".join(
        wire.u64(client) + sealed[client] for client in sorted(sealed)
    )


def decode_sealed(payload: memoryview) -> dict[int, bytes]:
    """Returns the encrypted shares of a payload, by client."""
    reader = wire.Reader(payload)
    size = keys.SEALED_BYTES
    pairs = [(reader.u64(), reader.take(size)) for _ in range(reader.count(8 + size))]
    reader.end()
    _check_ascending([client for client, _ in pairs])
    return dict(pairs)


def encode_vectors(totals: Sequence[np.ndarray], vectors: Sequence[session.Vector]) -> bytes:
    """Returns masked vectors as a payload, each entry in as many bits as its modulus has."""
    return b"".join(
        packing.pack(modular.residues(total, vector.modulus), vector.bits)
        for total, vector in zip(totals, vectors, strict=True)
    )


def decode_vectors(payload: memoryview, vectors: Sequence[session.Vector]) -> list[np.ndarray]:
    """Returns the masked vectors of a payload, word[length] each."""
    found, start = [], 0
    for vector in vectors:
        end = start + packing.packed_bytes(vector.length, vector.bits)
        try:
            values = packing.unpack(payload[start:end], vector.length, vector.bits)
        except ValueError as error:
            raise refusals.MessageRejectedError(f"a masked input is malformed: {error}") from None
        if not modular.is_power_of_two(vector.modulus) and np.any(values >= vector.modulus):
            raise refusals.MessageRejectedError("a masked input is not below its modulus")
        found.append(values.astype(modular.word(vector.modulus)))
        start = end
    if start != len(payload):
        raise refusals.MessageRejectedError("a message is longer than its form")
    return found


@dataclasses.dataclass(frozen=True)
class UnmaskRequest:
    """What the server asks of the clients whose masked inputs it has.

    Attributes:
      survivors: Clients whose inputs are in the sum: a share of each one's self mask is wanted.
      dropped: Clients that shared keys and then vanished: a share of each one's mask key is wanted.
    """

    survivors: tuple[int, ...]
    dropped: tuple[int, ...]

    def encode(self) -> bytes:
        """Returns the payload."""
        return b"".join(
            wire.u32(len(ids)) + b"".join(map(wire.u64, ids))
            for ids in (self.survivors, self.dropped)
        )


def decode_unmask_request(payload: memoryview) -> UnmaskRequest:
    """Returns the request of a payload."""
    reader = wire.Reader(payload)
    lists = [tuple(reader.u64() for _ in range(reader.count(8))) for _ in range(2)]
    reader.end()
    for ids in lists:
        _check_ascending(ids)
    return UnmaskRequest(*lists)


@dataclasses.dataclass(frozen=True)
class UnmaskShares:
    """A client's answer: for each peer a share of one of its two secrets.

    Attributes:
      self_seeds: By survivor, a share of its self mask's seed.
      mask_keys: By dropped client, a share of its mask key.
    """

    self_seeds: Mapping[int, int]
    mask_keys: Mapping[int, int]

    def encode(self) -> bytes:
        """Returns the payload."""
        return b"".join(map(_encode_shares, (self.self_seeds, self.mask_keys)))


def decode_unmask_shares(payload: memoryview) -> UnmaskShares:
    """Returns the answer of a payload."""
    reader = wire.Reader(payload)
    found = [_decode_shares(reader) for _ in range(2)]
    reader.end()
    return UnmaskShares(*found)


def overhead(clients: int, vectors: int) -> tuple[int, int]:
    """Returns the bytes that a client sends, and receives, beside its masked vectors.

    Nobody vanishes: for who does, less is sent.

    Args:
      clients: The cohort.
      vectors: How many vectors are summed.
    """
    head, count, name = envelope.BYTES, len(wire.u32(0)), len(wire.u64(0))
    sealed = count + (clients - 1) * (name + keys.SEALED_BYTES)
    up = (
        2 * keys.PUBLIC_BYTES,
        keys.COMMITMENT_BYTES + sealed,
        0,
        2 * count + clients * (name + sharing.ELEMENT_BYTES),
    )
    invitation = session.Session(
        bytes(session.NONCE_BYTES), tuple(range(clients)), 0, (session.Vector(1, 2),) * vectors
    )
    down = (
        len(invitation.encode()),
        count + clients * ADVERTISED_MESSAGE_BYTES,
        sealed,
        2 * count + clients * name,
    )
    return sum(up) + len(up) * head, sum(down) + len(down) * head


def _encode_shares(shares: Mapping[int, int]) -> bytes:
    return wire.u32(len(shares)) + b"".join(
        wire.u64(client) + shares[client].to_bytes(sharing.ELEMENT_BYTES, "little")
        for client in sorted(shares)
    )


def _decode_shares(reader: wire.Reader) -> dict[int, int]:
    size = sharing.ELEMENT_BYTES
    pairs = [
        (reader.u64(), int.from_bytes(reader.take(size), "little"))
        for _ in range(reader.count(8 + size))
    ]
    _check_ascending([client for client, _ in pairs])
    if any(share >= sharing.PRIME for _, share in pairs):
        raise refusals.MessageRejectedError("a share is no element of the field")
    return dict(pairs)


def _check_ascending(ids: Iterable[int]) -> None:
    ids = list(ids)
    if any(a >= b for a, b in zip(ids, ids[1:], strict=False)):
        raise refusals.MessageRejectedError("a message's clients do not ascend")
