"""The secrets of one round: key agreement, the encryption of shares, and commitments.

Every derived key depends on the round id and on a purpose, so no two uses share a key. The round id
depends on the public keys of all clients (see `session.round_id`).
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
# Size of an encrypted pair of field elements.
SEALED_BYTES = _NONCE_BYTES + 2 * sharing.ELEMENT_BYTES + _TAG_BYTES


def generate() -> x25519.X25519PrivateKey:
    """Returns a new key for key agreement, in the clamped form of RFC 7748, section 5.

    X25519 clamps every key before its use, so clamping does not change the key. It makes the
    integer of `as_integer` an element of the field.
    """
    raw = bytearray(os.urandom(PUBLIC_BYTES))
    raw[0] &= 248
    raw[31] = (raw[31] & 127) | 64
    return x25519.X25519PrivateKey.from_private_bytes(bytes(raw))


def public(key: x25519.X25519PrivateKey) -> bytes:
    """Returns the public key of a private key, 32 bytes."""
    return key.public_key().public_bytes_raw()


def is_usable(public_half: bytes) -> bool:
    """Whether a public key can be used for key agreement. Points of low order cannot."""
    try:
        _exchange(generate(), public_half)
    except ValueError:
        return False
    return True


def as_integer(key: x25519.X25519PrivateKey) -> int:
    """Returns a private key as an element of the field, so that it can be shared."""
    return int.from_bytes(key.private_bytes_raw(), "little")


def from_integer(value: int) -> x25519.X25519PrivateKey:
    """Reverses `as_integer`."""
    raw = value.to_bytes(sharing.ELEMENT_BYTES, "little")
    return x25519.X25519PrivateKey.from_private_bytes(raw)


def new_self_seed() -> int:
    """Returns a new seed of a client's self mask, uniform over the field."""
    return secrets.randbelow(sharing.PRIME)


def commitment(round_id: bytes, client: int, self_seed: int) -> bytes:
    """Returns a commitment to the seed of a client's self mask, 32 bytes.

    The commitment is a hash. It hides the seed, because the seed has 256 random bits. The server
    compares it with the seed that it reconstructs from shares, so it detects wrong shares.
    """
    seed = self_seed.to_bytes(sharing.ELEMENT_BYTES, "little")
    return hashlib.sha256(
        b"tff_nlp self mask commitment" + round_id + wire.u64(client) + seed
    ).digest()


def self_mask_seed(round_id: bytes, client: int, self_seed: int) -> bytes:
    """Returns the seed of the mask generator for a client's self mask, 32 bytes."""
    seed = self_seed.to_bytes(sharing.ELEMENT_BYTES, "little")
    return _derive(seed, round_id, b"self mask", client)


def pair_mask_seed(
    key: x25519.X25519PrivateKey, owner: int, peer_public: bytes, peer: int, round_id: bytes
) -> bytes:
    """Returns the seed of the mask generator that two clients share, 32 bytes.

    Args:
      key: Private key of one client.
      owner: Id of this client.
      peer_public: Public key of the other client, 32 bytes.
      peer: Id of the other client.
      round_id: The round id.

    Raises:
      ValueError: If the public key is a point of low order, which gives no shared secret.
    """
    shared = _exchange(key, peer_public)
    return _derive(shared, round_id, b"pair mask", min(owner, peer), max(owner, peer))


class ShareBox:
    """Encrypts pairs of shares between two clients with AES-256-GCM. Only they can read them."""

    def __init__(
        self,
        key: x25519.X25519PrivateKey,
        owner: int,
        peer_public: bytes,
        peer: int,
        round_id: bytes,
    ) -> None:
        """Derives one key per direction. The arguments are those of `pair_mask_seed`.

        Raises:
          ValueError: If the peer's public key is a point of low order.
        """
        shared = _exchange(key, peer_public)
        self._out = _derive(shared, round_id, b"shares", owner, peer)
        self._in = _derive(shared, round_id, b"shares", peer, owner)

    def seal(self, first: int, second: int) -> bytes:
        """Encrypts two field elements for the peer.

        The key is used only for this pair and direction, so associated data with the sender and the
        receiver is not needed.
        """
        plain = b"".join(
            share.to_bytes(sharing.ELEMENT_BYTES, "little") for share in (first, second)
        )
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + aead.AESGCM(self._out).encrypt(nonce, plain, None)

    def unseal(self, sealed: bytes) -> tuple[int, int]:
        """Decrypts the two field elements that the peer sealed.

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
            raise ValueError("a share is not an element of the field")
        return first, second


def _exchange(key: x25519.X25519PrivateKey, peer_public: bytes) -> bytes:
    return key.exchange(x25519.X25519PublicKey.from_public_bytes(peer_public))


def _derive(secret: bytes, round_id: bytes, purpose: bytes, *clients: int) -> bytes:
    # The purpose ends with a zero byte and ids have a fixed width, so different arguments give
    # different bytes.
    info = b"tff_nlp secure aggregation " + purpose + b"\0" + b"".join(map(wire.u64, clients))
    return hkdf.HKDF(hashes.SHA256(), 32, salt=round_id, info=info).derive(secret)
