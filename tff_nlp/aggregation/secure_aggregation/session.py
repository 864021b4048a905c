"""What both halves know before a round: who is invited, the threshold, and the vectors."""

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
        """32 bytes that tell this session, with all of its parameters, from any other."""
        return hashlib.sha256(b"tff_nlp secure aggregation session" + self.encode()).digest()

    def encode(self) -> bytes:
        """Returns the parameters as bytes, the same ones for the same parameters."""
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


def default_threshold(clients: int) -> int:
    """Returns floor(2 n / 3) + 1, which the paper asks for where clients may side with the server.

    A client gives the server a share of one of a peer's two secrets. A server that tells some
    clients that a peer vanished and others that it did not needs 2t answers for both secrets, and
    colluding clients answer twice: it fails as long as 2t > n + colluders (Bonawitz et al. 2017),
    here with fewer than a third of the clients. 2t > n, the least that `check` takes, stops a
    server without any colluders.
    """
    return 2 * clients // 3 + 1


def new(clients: Iterable[int], vectors: Sequence[Vector], threshold: int | None = None) -> Session:
    """Returns a session with a nonce of its own.

    Args:
      clients: Ids of the invited clients.
      vectors: What is summed.
      threshold: How many clients must answer in each step; `default_threshold` if None.

    Raises:
      UserError: If a parameter is out of its range (see `check`).
    """
    ids = tuple(sorted(clients))
    if threshold is None:
        threshold = default_threshold(len(ids))
    session = Session(os.urandom(NONCE_BYTES), ids, threshold, tuple(vectors))
    check(session)
    return session


def check(session: Session) -> None:
    """Refuses parameters with which the protocol is not private, or not defined.

    Raises:
      UserError: If there are fewer clients than the threshold or than two, the threshold is not
        above half of them, ids repeat or are out of range, or a modulus or length is.
    """
    count, flag = len(session.clients), "--secure_aggregation_threshold"
    if count < FEWEST_CLIENTS:
        raise errors.UserError(
            f"{flag}: a secure sum needs at least {FEWEST_CLIENTS} clients, here are {count}: the"
            " sum over one client is its input"
        )
    if session.threshold > count:
        raise errors.UserError(
            f"{flag}={session.threshold}: more than the {count} clients of the round"
        )
    if 2 * session.threshold <= count:
        raise errors.UserError(
            f"{flag}={session.threshold}: must be above half of the {count} clients, or the server"
            " could unmask one of them"
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
