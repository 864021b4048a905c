"""The envelope of each message: kind, session, sender, receiver and signature.

bytes  4      magic
       1      version of the format
       1      kind
       32     session id in the first step, then the round id (see `session`)
       8      sender
       8      receiver
       ...    payload (see `messages`)
       64     Ed25519 signature of all bytes before it
"""

import enum
import struct

from tff_nlp.aggregation.secure_aggregation import identities, refusals

MAGIC = b"TNSA"
VERSION = 2
_HEADER = struct.Struct("<4sBB32sQQ")
BYTES = _HEADER.size + identities.SIGNATURE_BYTES

# Ids that no client has. They stand for the server and for all clients of the session.
SERVER = 2**64 - 1
EVERYONE = 2**64 - 2


class Kind(enum.IntEnum):
    """The kind of a message. Odd kinds go to clients, even kinds to the server."""

    INVITATION = 1
    ADVERTISED_KEYS = 2
    ROSTER = 3
    SHARED_KEYS = 4
    FORWARDED_SHARES = 5
    MASKED_INPUT = 6
    SURVIVORS = 7
    CONSISTENCY_SIGNATURE = 8
    CONSISTENCY_SIGNATURES = 9
    UNMASK_SHARES = 10

    @property
    def from_server(self) -> bool:
        """Whether the server sends messages of this kind."""
        return self % 2 == 1


def seal(
    identity: identities.Identity,
    kind: Kind,
    session_id: bytes,
    sender: int,
    receiver: int,
    payload: bytes,
) -> bytes:
    """Returns a signed message.

    Args:
      identity: The sender's signing key.
      kind: Kind of the message.
      session_id: The session id or round id, 32 bytes.
      sender: Id of the sender.
      receiver: Id of the receiver.
      payload: Content of the message.
    """
    signed = _HEADER.pack(MAGIC, VERSION, kind, session_id, sender, receiver) + payload
    return signed + identity.sign(signed)


def with_signature(
    kind: Kind, session_id: bytes, sender: int, receiver: int, payload: bytes, signature: bytes
) -> bytes:
    """Builds a message from its parts and a signature that another party passed on.

    `unseal` can then check the signature. The arguments are those of `seal`.
    """
    return _HEADER.pack(MAGIC, VERSION, kind, session_id, sender, receiver) + payload + signature


def unseal(
    message: bytes,
    directory: identities.Directory,
    kind: Kind,
    session_id: bytes | None,
    receiver: int,
    largest: int,
) -> tuple[int, memoryview]:
    """Checks a message and returns its sender and payload.

    Args:
      message: The bytes from the network.
      directory: Verification keys. A sender that is not in the directory is refused.
      kind: The expected kind.
      session_id: The expected session id or round id. None for an invitation, because its payload
        defines the session.
      receiver: The expected receiver.
      largest: Maximum size of the payload in bytes. A longer message is refused before its
        signature is checked.

    Raises:
      MessageRejectedError: If the form, version, session, kind or receiver is another one, or the
        signature is not the sender's.
    """
    if not 0 <= len(message) - BYTES <= largest:
        raise refusals.MessageRejectedError(
            f"a message of {len(message)} bytes is not {kind.name}, which has {BYTES} to"
            f" {BYTES + largest}"
        )
    magic, version, found_kind, found_session, sender, found_receiver = _HEADER.unpack_from(message)
    if magic != MAGIC or version != VERSION:
        raise refusals.MessageRejectedError(
            f"a message is not of version {VERSION} of secure aggregation"
        )
    if session_id is not None and found_session != session_id:
        raise refusals.MessageRejectedError("a message is from another session or roster")
    if found_kind != kind:
        raise refusals.MessageRejectedError(f"a message of kind {found_kind} is not {kind.name}")
    if found_receiver != receiver:
        raise refusals.MessageRejectedError(
            f"a message for {_name(found_receiver)} came to {_name(receiver)}"
        )
    public = directory.server if kind.from_server else directory.clients.get(sender)
    if (sender == SERVER) != kind.from_server or public is None:
        raise refusals.MessageRejectedError(f"{kind.name} does not come from {_name(sender)}")
    view = memoryview(message)
    end = len(message) - identities.SIGNATURE_BYTES
    if not identities.verifies(public, bytes(view[end:]), view[:end]):
        raise refusals.MessageRejectedError(
            f"the signature of a message is not that of {_name(sender)}"
        )
    return sender, view[_HEADER.size : end]


def signature_of(message: bytes) -> bytes:
    """Returns the signature of a message that `unseal` accepted, 64 bytes."""
    return bytes(message[-identities.SIGNATURE_BYTES :])


def session_id_of(message: bytes) -> bytes:
    """Returns the session id of a message that `unseal` accepted."""
    return _HEADER.unpack_from(message)[3]


def _name(party: int) -> str:
    return {SERVER: "the server", EVERYONE: "all clients"}.get(party, f"client {party}")
