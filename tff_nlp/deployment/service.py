"""The coordinator's end of the connections: a gRPC service that only enrolled silos reach."""

import concurrent.futures
import contextlib
import hashlib
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import grpc

from tff_nlp import errors
from tff_nlp.aggregation.secure_aggregation import refusals
from tff_nlp.aggregation.secure_aggregation.steps import Step
from tff_nlp.deployment import attempt, attendance, certificates, pieces, traffic
from tff_nlp.deployment import federation_pb2 as pb

NAME = "tff_nlp.federation.Federation"
# A message is a piece of tensors, a step of secure aggregation, or the plan.
MOST_MESSAGE_BYTES = 16 << 20
# Both ends notice a cut connection after about half a minute.
KEEPALIVE = (
    ("grpc.keepalive_time_ms", 15_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.max_receive_message_length", MOST_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MOST_MESSAGE_BYTES),
)
_TASK_SECONDS = 1.0


class Service:
    """Answers the calls of silos.

    Attributes:
      attendance: The silos that are there.
      traffic: Counts the bytes of each silo.
      finished: Whether the federation has ended; silos that arrive are told so.
    """

    def __init__(
        self, plan: str, silos: attendance.Attendance, say: Callable[[str, str], None]
    ) -> None:
        """Begins without a round.

        Args:
          plan: JSON text of the plan.
          silos: The silos.
          say: Function that shows a line: a word and a marked text (`errors`).
        """
        self.attendance = silos
        self.traffic = traffic.Traffic(silos.names)
        self.finished = False
        self._plan, self._say = plan, say
        self._plan_digest = hashlib.sha256(plan.encode()).digest()
        self._attempt: attempt.Attempt | None = None
        self._lock = threading.Lock()

    def set_attempt(self, current: attempt.Attempt | None) -> None:
        """Sets the attempt that calls belong to."""
        with self._lock:
            self._attempt = current

    def waiting_for(self) -> tuple[str, ...]:
        """Returns the silos whose updates are awaited."""
        with self._lock:
            current = self._attempt
        return () if current is None else current.waiting_for()

    def describe(self, _: pb.Nothing, context: grpc.ServicerContext) -> pb.Description:
        """Returns the plan."""
        self._silo(context)
        return pb.Description(plan=self._plan)

    def attend(self, arrival: pb.Arrival, context: grpc.ServicerContext) -> Iterator[pb.Task]:
        """Yields the tasks of a silo, as long as it is there."""
        name = self._silo(context)
        if arrival.plan_digest != self._plan_digest:
            self._refuse(context, name, "has approved another plan")
        try:
            seat = self.attendance.arrive(name, arrival.process)
        except attendance.RefusedError as error:
            self._refuse(context, name, errors.message(error), grpc.StatusCode.ALREADY_EXISTS)
        context.add_callback(lambda: self.attendance.leave(seat))
        try:
            # The silo knows by this message that it has its seat.
            yield pb.Task(kind=pb.Task.FINISHED if self.finished else pb.Task.WAIT)
            while context.is_active():
                try:
                    task = seat.tasks.get(timeout=_TASK_SECONDS)
                except queue.Empty:
                    continue
                if task is None:
                    return
                yield task
        finally:
            self.attendance.leave(seat)

    def fetch(self, asked: pb.Attempt, context: grpc.ServicerContext) -> Iterator[pb.Piece]:
        """Yields the weights of a round."""
        name = self._silo(context)
        current = self._current(asked, context, name)
        for piece in pieces.encode(current.broadcast):
            yield pb.Piece(content=piece)
            self.traffic.count(name, down=len(piece))
        yield pb.Piece(digest=current.digest)

    def upload(self, sent: Iterator[pb.Piece], context: grpc.ServicerContext) -> pb.Nothing:
        """Receives an update."""
        name = self._silo(context)
        first = next(sent, pb.Piece())
        current = self._current(first.attempt, context, name)
        last = first

        def content() -> Iterator[bytes]:
            nonlocal last
            yield first.content
            for piece in sent:
                last = piece
                self.traffic.count(name, up=len(piece.content))
                yield piece.content

        self.traffic.count(name, up=len(first.content))
        with self._refusing(context, name):
            current.take_upload(name, content(), lambda: last.digest)
        return pb.Nothing()

    def exchange(self, sent: pb.Step, context: grpc.ServicerContext) -> pb.Step:
        """Takes a silo's message of secure aggregation, and returns the next one for it."""
        name = self._silo(context)
        current = self._current(sent.attempt, context, name)
        masked = current.masked
        if masked is None:
            self._refuse(context, name, "asks for secure aggregation, which the plan does not have")
        client = current.positions[name]
        self.traffic.count(name, up=len(sent.message))
        with self._refusing(context, name):
            # The masked input itself comes as an upload.
            if sent.step not in (0, Step.MASKED_INPUT):
                masked.add(client, Step(sent.step), sent.message)
            message = masked.answer(client, sent.step, context.is_active)
        self.traffic.count(name, down=len(message))
        return pb.Step(attempt=sent.attempt, step=sent.step + 1, message=message)

    def report(self, sent: pb.Failure, context: grpc.ServicerContext) -> pb.Nothing:
        """Goes on without a silo that cannot do its part of a round."""
        name = self._silo(context)
        current = self._current(sent.attempt, context, name)
        reason = errors.verbatim(sent.reason[:300])
        self._say("silo", f"{name} cannot take part in round {current.number}: {reason}")
        current.fail(name, reason)
        return pb.Nothing()

    def _silo(self, context: grpc.ServicerContext) -> str:
        """Returns the name in the certificate of the caller, if it is a silo."""
        found = context.auth_context().get("x509_common_name", [b""])
        name = found[0].decode("utf-8", "replace")
        if name not in self.attendance.names:
            self._refuse(context, name, "is not one of the silos", grpc.StatusCode.UNAUTHENTICATED)
        return name

    def _current(
        self, asked: pb.Attempt, context: grpc.ServicerContext, name: str
    ) -> attempt.Attempt:
        with self._lock:
            current = self._attempt
        if current is None or (asked.round, asked.attempt) != (current.number, current.id):
            self._refuse(
                context,
                name,
                f"speaks of an attempt of round {asked.round} that is over",
                grpc.StatusCode.ABORTED,
            )
        if name not in current.members:
            self._refuse(context, name, "does not take part in this round")
        return current

    @contextlib.contextmanager
    def _refusing(self, context: grpc.ServicerContext, name: str) -> Iterator[None]:
        """Answers an error of a silo's message, which ends nothing but the call."""
        try:
            yield
        except (errors.RunError, refusals.MessageRejectedError) as error:
            self._refuse(context, name, errors.message(error), grpc.StatusCode.ABORTED)

    def _refuse(
        self,
        context: grpc.ServicerContext,
        name: str,
        why: str,
        code: grpc.StatusCode = grpc.StatusCode.FAILED_PRECONDITION,
    ) -> NoReturn:
        self._say("refused", f"{errors.verbatim(name)}: {why}")
        context.abort(code, errors.without_marks(why))
        raise AssertionError("gRPC's abort raises")


def handlers(service: Service) -> grpc.GenericRpcHandler:
    """Returns the methods of the service, as gRPC asks for them."""
    unary, down, up = (
        grpc.unary_unary_rpc_method_handler,
        grpc.unary_stream_rpc_method_handler,
        grpc.stream_unary_rpc_method_handler,
    )
    methods: dict[str, Any] = {
        "Describe": (unary, service.describe, pb.Nothing, pb.Description),
        "Attend": (down, service.attend, pb.Arrival, pb.Task),
        "Fetch": (down, service.fetch, pb.Attempt, pb.Piece),
        "Upload": (up, service.upload, pb.Piece, pb.Nothing),
        "Exchange": (unary, service.exchange, pb.Step, pb.Step),
        "Report": (unary, service.report, pb.Failure, pb.Nothing),
    }
    return grpc.method_handlers_generic_handler(
        NAME,
        {
            name: make(method, asked.FromString, answered.SerializeToString)
            for name, (make, method, asked, answered) in methods.items()
        },
    )


def start(service: Service, credentials: certificates.Credentials, address: str) -> grpc.Server:
    """Starts the server.

    Args:
      service: The service.
      credentials: The coordinator's credentials.
      address: "host:port" to listen on.

    Raises:
      UserError: If the address cannot be used.
    """
    check_port(address)
    # A silo has one call open all the time, and at most two others.
    workers = concurrent.futures.ThreadPoolExecutor(3 * len(service.attendance.names) + 8)
    server = grpc.server(workers, options=[*KEEPALIVE, ("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((handlers(service),))
    secure = grpc.ssl_server_credentials(
        [(credentials.key, credentials.certificate)],
        root_certificates=credentials.authority,
        require_client_auth=True,
    )
    try:
        bound = server.add_secure_port(address, secure)
    except RuntimeError as error:
        raise errors.UserError(f"{errors.setting('listen', address)}: cannot be used") from error
    if not bound:
        raise errors.UserError(f"{errors.setting('listen', address)}: cannot be used")
    server.start()
    return server


def split_address(address: str, flag: str) -> tuple[str, int]:
    """Returns host and port of "host:port".

    Raises:
      UserError: If the text has another form.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) < 1 << 16:
        raise errors.UserError(f"{errors.setting(flag, address)}: must be host:port")
    return host.strip("[]"), int(port)


def check_port(address: str, flag: str = "listen") -> None:
    """Refuses an address that cannot be used for listening.

    Raises:
      UserError: If the address has another form, or is in use.
    """
    host, port = split_address(address, flag)
    try:
        with socket.create_server((host, port)):
            return
    except OSError as error:
        raise errors.UserError(
            f"{errors.setting(flag, address)}: cannot be used ({error.strerror or error})"
        ) from error
