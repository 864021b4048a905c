"""The public parameters of a round: the invited clients, the threshold, and the vectors."""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Iterable, Sequence

from tff_nlp import errors
from tff_nlp.aggregation.secure_aggregation import wire

NONCE_BYTES = 16
LARGEST_MODULUS = 2**62
# Ids are points of the field and eight bytes in messages. `envelope` reserves some of them.
LARGEST_CLIENT_ID = 2**63 - 1
FEWEST_CLIENTS = 2
_WORD_BYTES = 8


@dataclasses.dataclass(frozen=True)
class Vector:
    """One vector that every client sends.

    Attributes:
      length: Number of integers.
      modulus: Modulus of the sums, from 2 to 2^62.
    """

    length: int
    modulus: int

    @property
    def bits(self) -> int:
        """The number of bits of an entry, with or without a mask."""
        return (self.modulus - 1).bit_length()


@dataclasses.dataclass(frozen=True)
class Session:
    """The public parameters of one round.

    Attributes:
      nonce: Random bytes that no other session has.
      clients: Ids of the invited clients, ascending.
      threshold: Number of clients that must answer in each step; t in the paper.
      vectors: The vectors to sum.
    """

    nonce: bytes
    clients: tuple[int, ...]
    threshold: int
    vectors: tuple[Vector, ...]

    @functools.cached_property
    def id(self) -> bytes:
        """The session id, 32 bytes. Sessions with other parameters or nonces have other ids."""
        return hashlib.sha256(b"tff_nlp secure aggregation session" + self.encode()).digest()

    def encode(self) -> bytes:
        """Returns the parameters as bytes. Different parameters give different bytes."""
        parts = [self.nonce, wire.u32(self.threshold), wire.u32(len(self.clients))]
        parts += [wire.u64(client) for client in self.clients]
        parts.append(wire.u32(len(self.vectors)))
        parts += [wire.u64(v.length) + wire.u64(v.modulus) for v in self.vectors]
        return b"".join(parts)


def decode(payload: bytes | memoryview) -> Session:
    """Reverses `Session.encode`.

    Raises:
      MessageRejectedError: If the bytes do not have the right form.
      UserError: If a parameter is out of its range (see `check`).
    """
    reader = wire.Reader(payload)
    nonce = reader.take(NONCE_BYTES)
    threshold = reader.u32()
    clients = tuple(reader.u64() for _ in range(reader.count(8)))
    vectors = tuple(Vector(reader.u64(), reader.u64()) for _ in range(reader.count(16)))
    reader.end()
    session = Session(nonce, clients, threshold, vectors)
    check(session)
    return session


def encoded_bytes(clients: int, vectors: int) -> int:
    """Returns the size of `Session.encode` in bytes for this number of clients and vectors."""
    counts = 3 * len(wire.u32(0))
    return NONCE_BYTES + counts + _WORD_BYTES * clients + 2 * _WORD_BYTES * vectors


def round_id(session_id: bytes, roster: bytes | memoryview) -> bytes:
    """Returns the round id, 32 bytes. It depends on the session and on all clients' public keys.

    Every later key and message depends on the round id. The roster has two new public keys of each
    client, which serve as the client's own nonce. So a message from another session, or from
    another roster of the same session, cannot be replayed.

    Args:
      session_id: `Session.id`.
      roster: The payload of the message with all public keys.
    """
    return hashlib.sha256(b"tff_nlp secure aggregation roster" + session_id + roster).digest()


def fewer_than_a_third(clients: int) -> int:
    """Returns the largest integer below a third of the number of clients."""
    return max(clients - 1, 0) // 3


def least_threshold(clients: int, colluders: int) -> int:
    """Returns the smallest threshold t with 2 t > n + c, for n clients and c colluders.

    An honest client signs only one set of survivors, a colluder may sign several. Two sets with t
    signatures each need 2 t signatures, but there are at most (n - c) + 2 c = n + c. So the server
    cannot get enough signatures for two sets (Bonawitz et al. 2017, section 6.2, where
    t = floor(2 n / 3) + 1 and c < n / 3).

    Args:
      clients: Number of invited clients, n.
      colluders: Number of clients that collude with the server, c.
    """
    return (clients + colluders) // 2 + 1


def new(clients: Iterable[int], vectors: Sequence[Vector], threshold: int | None = None) -> Session:
    """Returns a session with a new nonce.

    Args:
      clients: Ids of the invited clients.
      vectors: The vectors to sum.
      threshold: Number of clients that must answer in each step. The default is the smallest
        threshold that protects against fewer colluders than a third of the clients.

    Raises:
      UserError: If a parameter is out of its range (see `check`).
    """
    ids = tuple(sorted(clients))
    if threshold is None:
        threshold = least_threshold(len(ids), fewer_than_a_third(len(ids)))
    session = Session(os.urandom(NONCE_BYTES), ids, threshold, tuple(vectors))
    check(session)
    return session


def check(session: Session) -> None:
    """Refuses parameters for which the protocol is not defined.

    Each client decides by itself whether a session is private enough: see `demands`.

    Raises:
      UserError: If there are fewer than two clients, the threshold is not from 1 to the number of
        clients, ids repeat, or an id, a modulus or a length is out of range.
    """
    count = len(session.clients)
    if count < FEWEST_CLIENTS:
        raise errors.UserError(
            f"secure aggregation: needs at least {FEWEST_CLIENTS} clients, here are {count};"
            " the sum over one client would reveal its input"
        )
    if not 1 <= session.threshold <= count:
        raise errors.UserError(
            f"`secure_aggregation_threshold`={session.threshold}: is not from 1 to {count}, the"
            " number of clients in the round"
        )
    if any(a >= b for a, b in zip(session.clients, session.clients[1:], strict=False)):
        raise errors.UserError("secure aggregation: client ids must ascend and not repeat")
    if session.clients[0] < 0 or session.clients[-1] > LARGEST_CLIENT_ID:
        raise errors.UserError("secure aggregation: client ids must be from 0 to 2^63 - 1")
    for vector in session.vectors:
        if not 2 <= vector.modulus <= LARGEST_MODULUS:
            raise errors.UserError(
                f"secure aggregation: the modulus {vector.modulus} is not from 2 to 2^62"
            )
        if vector.length < 0:
            raise errors.UserError("secure aggregation: a vector's length is negative")
