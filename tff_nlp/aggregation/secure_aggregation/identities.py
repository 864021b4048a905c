"""Who is who: long-lived Ed25519 keys, and the directory of their public halves.

The directory is the public-key infrastructure of the paper. The party that hands it out is trusted
not to put keys of its own in a client's place, so it must not be the server of the sums.
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

    def __init__(self) -> None:
        """Makes a new key."""
        self._key = ed25519.Ed25519PrivateKey.generate()

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
      server: The server's.
      clients: The clients', by id.
    """

    server: bytes
    clients: Mapping[int, bytes]

    def __post_init__(self) -> None:
        """Refuses keys that are not of 32 bytes, and a key of two parties: one could be both.

        Raises:
          UserError: If there is such a key.
        """
        public = [self.server, *self.clients.values()]
        if any(len(key) != PUBLIC_BYTES for key in public):
            raise errors.UserError(f"directory: a verification key is not of {PUBLIC_BYTES} bytes")
        if len(set(public)) < len(public):
            raise errors.UserError("directory: two parties have the same verification key")


def verifies(public: bytes, signature: bytes, data: bytes | memoryview) -> bool:
    """Returns whether a signature is of these bytes, by the owner of a verification key."""
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except exceptions.InvalidSignature:
        return False
    return True


def enrol(clients: Iterable[int]) -> tuple[Identity, dict[int, Identity], Directory]:
    """Makes identities for a server and clients, and their directory: a trusted third party."""
    server, members = Identity(), {client: Identity() for client in clients}
    public = {client: identity.public for client, identity in members.items()}
    return server, members, Directory(server.public, public)
