"""The outside of each message: what it is, of which session, from whom, to whom, and a signature.

bytes  4      magic
       1      version of the format
       1      kind
       32     session id; after the first step the round id (see `session`)
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

# Ids of no client: the server, and all clients of the session.
SERVER = 2**64 - 1
EVERYONE = 2**64 - 2


class Kind(enum.IntEnum):
    """What a message is; odd kinds go to clients, even ones to the server."""

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
        """Whether the server sends it."""
        return self % 2 == 1


def seal(
    identity: identities.Identity,
    kind: Kind,
    session_id: bytes,
    sender: int,
    receiver: int,
    payload: bytes,
) -> bytes:
    """Returns a signed message."""
    signed = _HEADER.pack(MAGIC, VERSION, kind, session_id, sender, receiver) + payload
    return signed + identity.sign(signed)


def with_signature(
    kind: Kind, session_id: bytes, sender: int, receiver: int, payload: bytes, signature: bytes
) -> bytes:
    """Returns a message of which somebody else handed on the signature only, for `unseal`."""
    return _HEADER.pack(MAGIC, VERSION, kind, session_id, sender, receiver) + payload + signature


def unseal(
    message: bytes,
    directory: identities.Directory,
    kind: Kind,
    session_id: bytes | None,
    receiver: int,
    largest: int,
) -> tuple[int, memoryview]:
    """Returns sender and payload of a message that is authentic and the one that is due.

    Args:
      message: What came over the network.
      directory: Verification keys; a sender that is not in it is refused.
      kind: The kind that is due.
      session_id: The session; None for an invitation, whose payload is the session.
      receiver: Who the message must be for.
      largest: How many bytes its payload may have; a longer one is not even hashed.

    Raises:
      MessageRejectedError: If it is of another form, version, session, kind or receiver, or the
        signature is not its sender's.
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
    """Returns the signature under a message that `unseal` took, 64 bytes."""
    return bytes(message[-identities.SIGNATURE_BYTES :])


def session_id_of(message: bytes) -> bytes:
    """Returns the session id in a message that `unseal` took."""
    return _HEADER.unpack_from(message)[3]


def _name(party: int) -> str:
    return {SERVER: "the server", EVERYONE: "all clients"}.get(party, f"client {party}")
