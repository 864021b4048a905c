"""The public parameters of a round: who is invited, the threshold, and the vectors."""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Iterable, Sequence

from tff_nlp import errors
from tff_nlp.aggregation.secure_aggregation import wire

NONCE_BYTES = 16
LARGEST_MODULUS = 2**62
# Ids are shares' places in the field and eight bytes on the wire, of which `envelope` keeps some.
LARGEST_CLIENT_ID = 2**63 - 1
FEWEST_CLIENTS = 2
_WORD_BYTES = 8


@dataclasses.dataclass(frozen=True)
class Vector:
    """One vector that every client sends.

    Attributes:
      length: How many integers it has.
      modulus: The sum of each entry is taken modulo this, from 2 to 2^62.
    """

    length: int
    modulus: int

    @property
    def bits(self) -> int:
        """How many bits an entry needs, masked or not."""
        return (self.modulus - 1).bit_length()


@dataclasses.dataclass(frozen=True)
class Session:
    """The public parameters of one round.

    Attributes:
      nonce: Random bytes that no other session has.
      clients: Ids of the invited clients, ascending.
      threshold: How many clients must answer in each step; the t of the paper.
      vectors: What is summed.
    """

    nonce: bytes
    clients: tuple[int, ...]
    threshold: int
    vectors: tuple[Vector, ...]

    @functools.cached_property
    def id(self) -> bytes:
        """32 bytes that no session with other parameters, or another nonce, has."""
        return hashlib.sha256(b"tff_nlp secure aggregation session" + self.encode()).digest()

    def encode(self) -> bytes:
        """Returns the parameters as bytes, the same ones for the same parameters only."""
        parts = [self.nonce, wire.u32(self.threshold), wire.u32(len(self.clients))]
        parts += [wire.u64(client) for client in self.clients]
        parts.append(wire.u32(len(self.vectors)))
        parts += [wire.u64(v.length) + wire.u64(v.modulus) for v in self.vectors]
        return b"".join(parts)


def decode(payload: bytes | memoryview) -> Session:
    """Returns the session of `Session.encode`.

    Raises:
      MessageRejectedError: If the bytes are of another form.
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
    """Returns how many bytes `Session.encode` takes for so many clients and vectors."""
    counts = 3 * len(wire.u32(0))
    return NONCE_BYTES + counts + _WORD_BYTES * clients + 2 * _WORD_BYTES * vectors


def round_id(session_id: bytes, roster: bytes | memoryview) -> bytes:
    """Returns 32 bytes that identify a session together with the keys that its clients made for it.

    Every key and every message after the first step depends on it. A client's two fresh public
    keys are in the roster, so that they are the client's own nonce: what was said in another
    session, or under another roster of this one, is of no use here.

    Args:
      session_id: `Session.id`.
      roster: The payload with all public keys.
    """
    return hashlib.sha256(b"tff_nlp secure aggregation roster" + session_id + roster).digest()


def fewer_than_a_third(clients: int) -> int:
    """Returns the largest number of colluders that is below a third of the clients."""
    return max(clients - 1, 0) // 3


def least_threshold(clients: int, colluders: int) -> int:
    """Returns the smallest t with 2 t > n + c, for n clients of which c side with the server.

    Honest clients sign one set of survivors, colluders sign any. Two sets with t signatures each
    take 2 t signatures, of which there are at most n - c + 2 c = n + c (Bonawitz et al. 2017,
    section 6.2, where t = floor(2 n / 3) + 1 and c < n / 3).
    """
    return (clients + colluders) // 2 + 1


def new(clients: Iterable[int], vectors: Sequence[Vector], threshold: int | None = None) -> Session:
    """Returns a session with a nonce of its own.

    Args:
      clients: Ids of the invited clients.
      vectors: What is summed.
      threshold: How many clients must answer in each step; by default the least that withstands
        colluders who are fewer than a third of the clients.

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
    """Refuses parameters with which the protocol is not defined.

    Whether a session is private enough is for each client to say: see `demands`.

    Raises:
      UserError: If there are fewer than two clients, the threshold is not from 1 to their number,
        ids repeat or are out of range, or a modulus or length is.
    """
    count = len(session.clients)
    if count < FEWEST_CLIENTS:
        raise errors.UserError(
            f"secure aggregation: needs at least {FEWEST_CLIENTS} clients, here are {count}: the"
            " sum over one client is its input"
        )
    if not 1 <= session.threshold <= count:
        raise errors.UserError(
            f"--secure_aggregation_threshold={session.threshold}: is not from 1 to {count}, the"
            " clients of the round"
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
