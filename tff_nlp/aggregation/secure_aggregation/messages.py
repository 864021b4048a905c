"""The payloads of messages, as frozen values that can be encoded to bytes and decoded.

Each value has exactly one encoding, and decoding refuses all others: lists ascend by client without
repetition, and no bytes are left over. Decoders raise MessageRejectedError.
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
      share_key: Public key for the encryption of shares; c^PK in the paper.
      mask_key: Public key for pairwise masks; s^PK in the paper.
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
    """Returns the payload with the clients' own signed messages, in the order of their ids."""
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
    """The encrypted shares of a client's secrets.

    Attributes:
      commitment: Commitment to the seed of the self mask (see `keys.commitment`).
      sealed: Recipient -> an encrypted share of the mask key and of the self seed.
    """

    commitment: bytes
    sealed: Mapping[int, bytes]

    def encode(self) -> bytes:
        """Returns the payload."""
        return self.commitment + encode_sealed(self.sealed)


def decode_shared_keys(payload: memoryview) -> SharedKeys:
    """Returns the shares of a payload."""
    if len(payload) < keys.COMMITMENT_BYTES:
        raise refusals.MessageRejectedError("a message is too short")
    commitment = bytes(payload[: keys.COMMITMENT_BYTES])
    return SharedKeys(commitment, decode_sealed(payload[keys.COMMITMENT_BYTES :]))


def encode_sealed(sealed: Mapping[int, bytes]) -> bytes:
    """Returns a payload with encrypted shares, by client (sender or recipient)."""
    return _encode_by_client(sealed)


def decode_sealed(payload: memoryview) -> dict[int, bytes]:
    """Returns the encrypted shares of a payload, by client."""
    reader = wire.Reader(payload)
    found = _decode_by_client(reader, keys.SEALED_BYTES)
    reader.end()
    return found


def encode_vectors(totals: Sequence[np.ndarray], vectors: Sequence[session.Vector]) -> bytes:
    """Returns masked vectors as a payload. Each entry takes as many bits as its modulus needs."""
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
            raise refusals.MessageRejectedError(
                "an entry of a masked input is not below its modulus"
            )
        found.append(values.astype(modular.word(vector.modulus)))
        start = end
    if start != len(payload):
        raise refusals.MessageRejectedError("a message is too long")
    return found


@dataclasses.dataclass(frozen=True)
class Survivors:
    """The server's division of the clients that shared keys into survivors and dropped clients.

    Attributes:
      survivors: Clients with an input in the sum. The server needs shares of their self seeds.
      dropped: Clients without an input in the sum. The server needs shares of their mask keys.
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
        """The digest of the two sets, 32 bytes. Clients sign it to show that they got them."""
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
    """A client's answer in the last step: for each client, a share of one of its two secrets.

    Attributes:
      self_seeds: Survivor -> a share of its self seed.
      mask_keys: Dropped client -> a share of its mask key.
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
    """Returns the maximum size of a payload in bytes, which it has if no client drops out.

    Args:
      kind: Kind of the message.
      clients: Number of invited clients.
      vectors: The vectors to sum.
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
    """Returns the bytes that a client sends and receives in addition to its masked vectors.

    The numbers hold if no client drops out. Otherwise less is sent.

    Args:
      clients: Number of invited clients.
      vectors: Number of vectors to sum.

    Returns:
      The bytes that the client sends and the bytes that it receives.
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
        raise refusals.MessageRejectedError("a share is not an element of the field")
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
        raise refusals.MessageRejectedError("the client ids in a message do not ascend")
