"""Secrets of one round: key agreement, the encryption of shares, and commitments.

Every derived key depends on the round's id and on a purpose, so that no two uses share one. The
round's id covers every client's public keys (see `session.round_id`).
"""

import hashlib
import os
import secrets

from cryptography import exceptions
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.ciphers import aead
from cryptography.hazmat.primitives.kdf import hkdf

from tff_nlp.aggregation.secure_aggregation import sharing, wire

PUBLIC_BYTES = 32
COMMITMENT_BYTES = 32
_NONCE_BYTES, _TAG_BYTES = 12, 16
# A pair of field elements, encrypted.
SEALED_BYTES = _NONCE_BYTES + 2 * sharing.ELEMENT_BYTES + _TAG_BYTES


def generate() -> x25519.X25519PrivateKey:
    """Returns a new key for key agreement, in the clamped form of RFC 7748, section 5.

    Clamping leaves the key the same; it makes the integer of `as_integer` smaller than the field.
    """
    raw = bytearray(os.urandom(PUBLIC_BYTES))
    raw[0] &= 248
    raw[31] = (raw[31] & 127) | 64
    return x25519.X25519PrivateKey.from_private_bytes(bytes(raw))


def public(key: x25519.X25519PrivateKey) -> bytes:
    """Returns the public half, 32 bytes."""
    return key.public_key().public_bytes_raw()


def is_usable(public_half: bytes) -> bool:
    """Returns whether a secret can be agreed on: not with a public half of low order."""
    try:
        _exchange(generate(), public_half)
    except ValueError:
        return False
    return True


def as_integer(key: x25519.X25519PrivateKey) -> int:
    """Returns the private half as an element of the field, to be shared."""
    return int.from_bytes(key.private_bytes_raw(), "little")


def from_integer(value: int) -> x25519.X25519PrivateKey:
    """Returns the key of `as_integer`."""
    raw = value.to_bytes(sharing.ELEMENT_BYTES, "little")
    return x25519.X25519PrivateKey.from_private_bytes(raw)


def new_self_seed() -> int:
    """Returns the secret behind a client's self mask, uniform over the field."""
    return secrets.randbelow(sharing.PRIME)


def commitment(round_id: bytes, client: int, self_seed: int) -> bytes:
    """Returns what binds a client to its self mask without revealing it.

    The seed has 256 random bits, so that a hash of it hides it. The server compares the seed that
    it puts together from shares: a wrong share is noticed and does not spoil the sum in silence.
    """
    seed = self_seed.to_bytes(sharing.ELEMENT_BYTES, "little")
    return hashlib.sha256(
        b"tff_nlp self mask commitment" + round_id + wire.u64(client) + seed
    ).digest()


def self_mask_seed(round_id: bytes, client: int, self_seed: int) -> bytes:
    """Returns the mask generator's seed (32 bytes) of a client's self mask."""
    seed = self_seed.to_bytes(sharing.ELEMENT_BYTES, "little")
    return _derive(seed, round_id, b"self mask", client)


def pair_mask_seed(
    key: x25519.X25519PrivateKey, owner: int, peer_public: bytes, peer: int, round_id: bytes
) -> bytes:
    """Returns the mask generator's seed (32 bytes) that a pair of clients shares.

    Args:
      key: The private half of one of them.
      owner: Its id.
      peer_public: The other's public half.
      peer: The other's id.
      round_id: The session and its roster.

    Raises:
      ValueError: If the public half is a point of low order, with which there is no secret.
    """
    shared = _exchange(key, peer_public)
    return _derive(shared, round_id, b"pair mask", min(owner, peer), max(owner, peer))


class ShareBox:
    """Encrypts pairs of shares between two clients by AES-256-GCM; nobody else can read them."""

    def __init__(
        self,
        key: x25519.X25519PrivateKey,
        owner: int,
        peer_public: bytes,
        peer: int,
        round_id: bytes,
    ) -> None:
        """Agrees on one key for each direction (arguments as for `pair_mask_seed`).

        Raises:
          ValueError: If the peer's public half is a point of low order.
        """
        shared = _exchange(key, peer_public)
        self._out = _derive(shared, round_id, b"shares", owner, peer)
        self._in = _derive(shared, round_id, b"shares", peer, owner)

    def seal(self, first: int, second: int) -> bytes:
        """Returns two field elements, encrypted for the peer.

        The key is for this direction and this pair only, so that no associated data is needed to
        say from whom to whom the shares go.
        """
        plain = b"".join(
            share.to_bytes(sharing.ELEMENT_BYTES, "little") for share in (first, second)
        )
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + aead.AESGCM(self._out).encrypt(nonce, plain, None)

    def unseal(self, sealed: bytes) -> tuple[int, int]:
        """Returns the two elements that the peer sealed.

        Raises:
          ValueError: If the peer did not seal these bytes for this client in this round.
        """
        try:
            plain = aead.AESGCM(self._in).decrypt(
                sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None
            )
        except exceptions.InvalidTag:
            raise ValueError("the shares were not encrypted by that client") from None
        size = sharing.ELEMENT_BYTES
        first = int.from_bytes(plain[:size], "little")
        second = int.from_bytes(plain[size:], "little")
        if max(first, second) >= sharing.PRIME:
            raise ValueError("a share is no element of the field")
        return first, second


def _exchange(key: x25519.X25519PrivateKey, peer_public: bytes) -> bytes:
    return key.exchange(x25519.X25519PublicKey.from_public_bytes(peer_public))


def _derive(secret: bytes, round_id: bytes, purpose: bytes, *clients: int) -> bytes:
    # The purpose ends at the zero byte, and ids have a fixed width: no two lists of arguments give
    # the same bytes.
    info = b"tff_nlp secure aggregation " + purpose + b"\0" + b"".join(map(wire.u64, clients))
    return hkdf.HKDF(hashes.SHA256(), 32, salt=round_id, info=info).derive(secret)
