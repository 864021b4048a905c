"""The identities of the parties: long-lived Ed25519 keys and a directory of the public keys.

The directory is the public-key infrastructure of the paper. The party that distributes it could
replace a client's key by its own key. So it must be trusted, and must not be the server of the
sums.
"""

import dataclasses
from collections.abc import Iterable, Mapping

from cryptography import exceptions
from cryptography.hazmat.primitives.asymmetric import ed25519

from tff_nlp import errors

PUBLIC_BYTES = 32
SIGNATURE_BYTES = 64


class Identity:
    """A party's signing key."""

    def __init__(self, private: bytes | None = None) -> None:
        """Initializes the identity.

        Args:
          private: The private key, 32 bytes; None for a new key.
        """
        self._key = (
            ed25519.Ed25519PrivateKey.generate()
            if private is None
            else ed25519.Ed25519PrivateKey.from_private_bytes(private)
        )

    @property
    def public(self) -> bytes:
        """The verification key, 32 bytes."""
        return self._key.public_key().public_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        """Returns the signature, 64 bytes."""
        return self._key.sign(data)


@dataclasses.dataclass(frozen=True)
class Directory:
    """The verification keys of all parties, 32 bytes each.

    Attributes:
      server: The verification key of the server.
      clients: The verification keys of the clients, by id.
    """

    server: bytes
    clients: Mapping[int, bytes]

    def __post_init__(self) -> None:
        """Refuses keys of a wrong length, and keys that two parties share.

        With a shared key, one party could act as both.

        Raises:
          UserError: If a key does not have 32 bytes, or two parties have the same key.
        """
        public = [self.server, *self.clients.values()]
        if any(len(key) != PUBLIC_BYTES for key in public):
            raise errors.UserError(f"directory: a verification key must have {PUBLIC_BYTES} bytes")
        if len(set(public)) < len(public):
            raise errors.UserError("directory: two parties have the same verification key")


def verifies(public: bytes, signature: bytes, data: bytes | memoryview) -> bool:
    """Whether a signature of some data is valid for a verification key."""
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except exceptions.InvalidSignature:
        return False
    return True


def enrol(clients: Iterable[int]) -> tuple[Identity, dict[int, Identity], Directory]:
    """Makes identities for a server and clients, and their directory, as a trusted third party.

    Returns:
      The server's identity, the clients' identities by id, and the directory.
    """
    server, members = Identity(), {client: Identity() for client in clients}
    public = {client: identity.public for client, identity in members.items()}
    return server, members, Directory(server.public, public)
