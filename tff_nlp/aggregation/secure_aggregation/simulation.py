"""A server and its clients in one process, which exchange only bytes.

Use it for simulations and measurements only. A client in the same process as the server is not
protected from it.
"""

import contextlib
import dataclasses
import threading
import time
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from tff_nlp.aggregation.secure_aggregation import demands, identities, session
from tff_nlp.aggregation.secure_aggregation.client import Client
from tff_nlp.aggregation.secure_aggregation.server import Server
from tff_nlp.aggregation.secure_aggregation.steps import Step

STEPS = (
    Step.ADVERTISE_KEYS,
    Step.SHARE_KEYS,
    Step.MASKED_INPUT,
    Step.CONSISTENCY_CHECK,
    Step.UNMASK,
)

_Number = typing.TypeVar("_Number", int, float)


@dataclasses.dataclass(frozen=True)
class Result:
    """The result and the cost of a round. Seconds are processor time of the working threads.

    Attributes:
      sums: The sums of the vectors, int64[length] each, from 0 to modulus - 1.
      survivors: Ids of the clients with an input in the sums, ascending.
      bytes_up: Bytes that each invited client sent, by client and step.
      bytes_down: Bytes that were sent to each invited client, by client and step.
      client_seconds: Seconds of each invited client, by client and step.
      server_seconds: Seconds of the server, by step.
    """

    sums: tuple[np.ndarray, ...]
    survivors: tuple[int, ...]
    bytes_up: Mapping[int, Mapping[Step, int]]
    bytes_down: Mapping[int, Mapping[Step, int]]
    client_seconds: Mapping[int, Mapping[Step, float]]
    server_seconds: Mapping[Step, float]


class Round:
    """One round. Inputs may come one by one, in any order and from several threads.

    The constructor runs the first two steps, which need no input. `add_input` runs the third step
    for one client, and `finish` runs the last two steps.
    """

    def __init__(
        self,
        clients: Iterable[int],
        vectors: Sequence[session.Vector],
        threshold: int | None = None,
        drop_out: Mapping[int, Step] | None = None,
        demanded: demands.Demands = demands.DEFAULT,
    ) -> None:
        """Runs the steps that make and share the keys.

        Args:
          clients: Ids of the cohort.
          vectors: The vectors to sum.
          threshold: Number of clients that must answer in each step. The default is the smallest
            threshold that the clients accept.
          drop_out: Client -> the first step that it does not answer.
          demanded: The conditions of each client.

        Raises:
          UserError: If a parameter is out of range (see `session.check`) or does not meet the
            clients' conditions.
          SecureAggregationAborted: If too many clients drop out.
        """
        ids = tuple(clients)
        threshold = demanded.least_threshold(len(ids)) if threshold is None else threshold
        parameters = session.new(ids, vectors, threshold)
        demanded.check(parameters)
        self._demanded = demanded
        self._drop_out = dict(drop_out or {})
        self._lock = threading.Lock()
        self._bytes_up = _by_step(parameters.clients, 0)
        self._bytes_down = _by_step(parameters.clients, 0)
        self._client_seconds = _by_step(parameters.clients, 0.0)
        self._server_seconds = dict.fromkeys(STEPS, 0.0)
        identity, members, directory = identities.enrol(parameters.clients)
        self._server = Server(parameters, identity, directory)
        self._clients: dict[int, Client] = {}
        self._advertise_keys(parameters.clients, members, directory)
        self._forwarded = self._share_keys()

    def _advertise_keys(
        self,
        invited: Sequence[int],
        members: Mapping[int, identities.Identity],
        directory: identities.Directory,
    ) -> None:
        step = Step.ADVERTISE_KEYS
        with self._server_at(step):
            invitation = self._server.invitation()
        self._count_down(step, invited, invitation)
        for client in self._answering(step, invited):
            with self._client_at(step, client):
                self._clients[client] = Client(
                    invitation, client, members[client], directory, self._demanded
                )
                message = self._clients[client].advertise_keys()
            self._count_up(step, client, message)
            with self._server_at(step):
                self._server.add_advertised_keys(message)

    def _share_keys(self) -> dict[int, bytes]:
        """Returns the message with encrypted shares for each client."""
        step = Step.SHARE_KEYS
        with self._server_at(Step.ADVERTISE_KEYS):
            roster = self._server.roster()
        self._ask(step, self._clients, roster, Client.share_keys, self._server.add_shared_keys)
        with self._server_at(step):
            forwarded = dict(self._server.forwarded_shares())
        for client, message in forwarded.items():
            self._count_down(Step.MASKED_INPUT, [client], message)
        return forwarded

    def _ask(
        self,
        step: Step,
        clients: Iterable[int],
        question: bytes,
        answer: Callable[[Client, bytes], bytes],
        add: Callable[[bytes], None],
    ) -> list[int]:
        """Sends one message to all clients and gives their answers to the server.

        Returns:
          The clients that answered.
        """
        asked = list(clients)
        self._count_down(step, asked, question)
        answering = self._answering(step, asked)
        for client in answering:
            with self._client_at(step, client):
                message = answer(self._clients[client], question)
            self._count_up(step, client, message)
            with self._server_at(step):
                add(message)
        return answering

    @property
    def expected(self) -> tuple[int, ...]:
        """Ids of the clients that have not sent their input yet, ascending."""
        return tuple(sorted(self._answering(Step.MASKED_INPUT, tuple(self._forwarded))))

    def add_input(self, client: int, tensors: Sequence[np.ndarray]) -> None:
        """Masks a client's input and adds it to the server's sum.

        Args:
          client: Id of a client in `expected`.
          tensors: Integer tensors, one per vector and with as many entries. Entries are taken
            modulo the vector's modulus.

        Raises:
          ValueError: If the client is not in `expected`, or a tensor has another size.
          TypeError: If a tensor does not hold integers.
        """
        step = Step.MASKED_INPUT
        if client not in self._forwarded or not self._answering(step, [client]):
            raise ValueError(f"no input of client {client} is expected")
        # Masking takes most of the time, so it does not hold the lock.
        with self._client_at(step, client):
            message = self._clients[client].masked_input(self._forwarded[client], tensors)
        del self._forwarded[client]
        self._count_up(step, client, message)
        with self._lock, self._server_at(step):
            self._server.add_masked_input(message)

    def finish(self) -> Result:
        """Unmasks the sum. Clients that sent no input count as dropped.

        Raises:
          SecureAggregationAborted: If fewer clients than the threshold sent inputs, or answer in
            the last two steps.
        """
        with self._server_at(Step.MASKED_INPUT):
            announcement = self._server.announcement()
        survivors = self._server.survivors
        signed = self._ask(
            Step.CONSISTENCY_CHECK,
            survivors,
            announcement,
            Client.check_consistency,
            self._server.add_consistency_signature,
        )
        with self._server_at(Step.CONSISTENCY_CHECK):
            signatures = self._server.signatures()
        self._ask(Step.UNMASK, signed, signatures, Client.unmask, self._server.add_unmask_shares)
        with self._server_at(Step.UNMASK):
            sums = self._server.sums()
        return Result(
            tuple(sums),
            survivors,
            self._bytes_up,
            self._bytes_down,
            self._client_seconds,
            self._server_seconds,
        )

    def _answering(self, step: Step, clients: Iterable[int]) -> list[int]:
        """Returns the clients that still answer in a step."""
        return [c for c in clients if self._drop_out.get(c, Step.FINISHED) > step]

    def _count_up(self, step: Step, client: int, message: bytes) -> None:
        self._bytes_up[client][step] += len(message)

    def _count_down(self, step: Step, clients: Iterable[int], message: bytes) -> None:
        for client in clients:
            self._bytes_down[client][step] += len(message)

    @contextlib.contextmanager
    def _client_at(self, step: Step, client: int) -> Iterator[None]:
        began = time.thread_time()
        yield
        self._client_seconds[client][step] += time.thread_time() - began

    @contextlib.contextmanager
    def _server_at(self, step: Step) -> Iterator[None]:
        began = time.thread_time()
        yield
        self._server_seconds[step] += time.thread_time() - began


def _by_step(clients: Iterable[int], zero: _Number) -> dict[int, dict[Step, _Number]]:
    return {client: dict.fromkeys(STEPS, zero) for client in clients}


def secure_sum(
    inputs_by_client: Mapping[int, Sequence[np.ndarray]],
    moduli: Sequence[int],
    threshold: int | None = None,
    drop_out: Mapping[int, Step] | None = None,
    demanded: demands.Demands = demands.DEFAULT,
) -> Result:
    """Sums the clients' tensors with the protocol.

    Args:
      inputs_by_client: Client id -> integer tensors. All clients have the same number of tensors
        and the same shapes.
      moduli: The modulus of each tensor's sum, from 2 to 2^62.
      threshold: Number of clients that must answer in each step. The default is the smallest
        threshold that the clients accept.
      drop_out: Client -> the first step that it does not answer.
      demanded: The conditions of each client.

    Returns:
      The result. Its sums have the shapes of the tensors.

    Raises:
      ValueError: If clients have tensors of different shapes, or the number of tensors differs from
        the number of moduli.
      UserError: If a parameter is out of range (see `session.check`) or does not meet the clients'
        conditions.
      SecureAggregationAborted: If too many clients drop out.
    """
    shapes = {tuple(t.shape for t in tensors) for tensors in inputs_by_client.values()}
    if len(shapes) > 1:
        raise ValueError(f"clients have tensors of different shapes: {sorted(shapes)}")
    shape = next(iter(shapes), ())
    vectors = [
        session.Vector(int(np.prod(dimensions)), modulus)
        for dimensions, modulus in zip(shape, moduli, strict=bool(shapes))
    ]
    current = Round(inputs_by_client, vectors, threshold, drop_out, demanded)
    for client in current.expected:
        current.add_input(client, inputs_by_client[client])
    result = current.finish()
    sums = tuple(s.reshape(d) for s, d in zip(result.sums, shape, strict=True))
    return dataclasses.replace(result, sums=sums)
