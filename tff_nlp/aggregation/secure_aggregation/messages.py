"""What is inside each message, as frozen values that turn into bytes and back.

Decoding takes one form only: lists ascend by client and do not repeat, and no byte is left over.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from tff_nlp.aggregation.secure_aggregation import (
    envelope,
    identities,
    keys,
    modular,
    packing,
    refusals,
    session,
    sharing,
    wire,
)
from tff_nlp.aggregation.secure_aggregation.envelope import Kind

DIGEST_BYTES = 32
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
    return _encode_by_client(sealed)


def decode_sealed(payload: memoryview) -> dict[int, bytes]:
    """Returns the encrypted shares of a payload, by client."""
    reader = wire.Reader(payload)
    found = _decode_by_client(reader, keys.SEALED_BYTES)
    reader.end()
    return found


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
class Survivors:
    """What the server says of the clients that shared keys.

    Attributes:
      survivors: Clients whose inputs are in the sum: a share of each one's self mask is wanted.
      dropped: Clients that vanished since: a share of each one's mask key is wanted.
    """

    survivors: tuple[int, ...]
    dropped: tuple[int, ...]

    def encode(self) -> bytes:
        """Returns the payload."""
        return b"".join(
            wire.u32(len(ids)) + b"".join(map(wire.u64, ids))
            for ids in (self.survivors, self.dropped)
        )

    @property
    def digest(self) -> bytes:
        """What clients sign to show each other that they were given the same sets, 32 bytes."""
        return hashlib.sha256(b"tff_nlp secure aggregation survivors" + self.encode()).digest()


def decode_survivors(payload: memoryview) -> Survivors:
    """Returns the sets of a payload."""
    reader = wire.Reader(payload)
    lists = [tuple(reader.u64() for _ in range(reader.count(8))) for _ in range(2)]
    reader.end()
    for ids in lists:
        _check_ascending(ids)
    return Survivors(*lists)


def encode_signatures(signatures: Mapping[int, bytes]) -> bytes:
    """Returns the survivors' signatures, by client, as a payload."""
    return _encode_by_client(signatures)


def decode_signatures(payload: memoryview) -> dict[int, bytes]:
    """Returns the signatures of a payload, by client."""
    reader = wire.Reader(payload)
    found = _decode_by_client(reader, identities.SIGNATURE_BYTES)
    reader.end()
    return found


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


def largest_payload(kind: Kind, clients: int, vectors: Sequence[session.Vector]) -> int:
    """Returns how many bytes a payload has at most: when no client has vanished.

    Args:
      kind: What it is.
      clients: The cohort.
      vectors: What is summed.
    """
    count, name = len(wire.u32(0)), len(wire.u64(0))
    sealed = count + (clients - 1) * (name + keys.SEALED_BYTES)
    return {
        Kind.INVITATION: session.encoded_bytes(clients, len(vectors)),
        Kind.ADVERTISED_KEYS: 2 * keys.PUBLIC_BYTES,
        Kind.ROSTER: count + clients * ADVERTISED_MESSAGE_BYTES,
        Kind.SHARED_KEYS: keys.COMMITMENT_BYTES + sealed,
        Kind.FORWARDED_SHARES: sealed,
        Kind.MASKED_INPUT: sum(packing.packed_bytes(v.length, v.bits) for v in vectors),
        Kind.SURVIVORS: 2 * count + clients * name,
        Kind.CONSISTENCY_SIGNATURE: DIGEST_BYTES,
        Kind.CONSISTENCY_SIGNATURES: count + clients * (name + identities.SIGNATURE_BYTES),
        Kind.UNMASK_SHARES: 2 * count + clients * (name + sharing.ELEMENT_BYTES),
    }[kind]


def overhead(clients: int, vectors: int) -> tuple[int, int]:
    """Returns the bytes that a client sends, and receives, beside its masked vectors.

    Nobody vanishes: where clients vanish, less is sent.

    Args:
      clients: The cohort.
      vectors: How many vectors are summed.
    """
    empty = [session.Vector(0, 2)] * vectors
    sizes = {k: envelope.BYTES + largest_payload(k, clients, empty) for k in Kind}
    up = sum(size for kind, size in sizes.items() if not kind.from_server)
    return up, sum(sizes.values()) - up


def _encode_shares(shares: Mapping[int, int]) -> bytes:
    size = sharing.ELEMENT_BYTES
    return _encode_by_client({c: share.to_bytes(size, "little") for c, share in shares.items()})


def _decode_shares(reader: wire.Reader) -> dict[int, int]:
    found = _decode_by_client(reader, sharing.ELEMENT_BYTES)
    shares = {client: int.from_bytes(share, "little") for client, share in found.items()}
    if any(share >= sharing.PRIME for share in shares.values()):
        raise refusals.MessageRejectedError("a share is no element of the field")
    return shares


def _encode_by_client(items: Mapping[int, bytes]) -> bytes:
    return wire.u32(len(items)) + b"".join(
        wire.u64(client) + items[client] for client in sorted(items)
    )


def _decode_by_client(reader: wire.Reader, size: int) -> dict[int, bytes]:
    pairs = [(reader.u64(), reader.take(size)) for _ in range(reader.count(8 + size))]
    _check_ascending([client for client, _ in pairs])
    return dict(pairs)


def _check_ascending(ids: Iterable[int]) -> None:
    ids = list(ids)
    if any(a >= b for a, b in zip(ids, ids[1:], strict=False)):
        raise refusals.MessageRejectedError("a message's clients do not ascend")
