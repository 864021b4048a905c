"""A silo's end of the connections."""

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import grpc

from tff_nlp import errors
from tff_nlp.deployment import certificates, service
from tff_nlp.deployment import federation_pb2 as pb

# A call that transports nothing large.
_CALL_SECONDS = 30.0
# The first pause between two attempts to reach the coordinator, and the longest one.
_PAUSES = (0.5, 10.0)
# What the handshake of TLS says about certificates that do not fit.
_HANDSHAKE = ("handshake", "certificate", "ssl", "tls")


class AwayError(errors.RunError):
    """The coordinator cannot be reached, now."""


class RoundOverError(errors.RunError):
    """The coordinator has ended the attempt of a round."""


class Connection:
    """The calls of a silo. Several threads may use it.

    Attributes:
      address: "host:port" of the coordinator.
    """

    def __init__(self, address: str, credentials: certificates.Credentials) -> None:
        """Prepares the connection. Nothing is sent yet.

        Args:
          address: "host:port" of the coordinator.
          credentials: The silo's credentials.

        Raises:
          UserError: If the address has another form.
        """
        service.split_address(address, "coordinator")
        self.address = address
        self._attending: Any = None
        secure = grpc.ssl_channel_credentials(
            credentials.authority, credentials.key, credentials.certificate
        )
        reconnect = ("grpc.max_reconnect_backoff_ms", 2_000)
        self._channel = grpc.secure_channel(
            address, secure, options=[*service.KEEPALIVE, reconnect]
        )

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def describe(self) -> str:
        """Returns the text of the plan."""
        with self._explained():
            return self._unary("Describe", pb.Description)(pb.Nothing(), timeout=_CALL_SECONDS).plan

    def attend(self, digest: bytes, process: bytes) -> Iterator[pb.Task]:
        """Yields the tasks of the silo until the coordinator ends the call."""
        with self._explained():
            arrival = pb.Arrival(plan_digest=digest, process=process)
            self._attending = self._stream("Attend", pb.Task)(arrival)
            yield from self._attending

    def hang_up(self) -> None:
        """Ends the call of `attend`."""
        if self._attending is not None:
            self._attending.cancel()

    def fetch(self, attempt: pb.Attempt, seconds: float) -> Iterator[pb.Piece]:
        """Yields the weights of a round."""
        with self._explained():
            yield from self._stream("Fetch", pb.Piece)(attempt, timeout=seconds)

    def upload(self, content: Iterator[pb.Piece], seconds: float) -> None:
        """Sends an update."""
        with self._explained():
            call = _method(self._channel.stream_unary, "Upload", pb.Nothing)
            call(content, timeout=seconds)

    def exchange(self, step: pb.Step, seconds: float) -> bytes:
        """Sends a message of secure aggregation, and returns the next one."""
        with self._explained():
            return self._unary("Exchange", pb.Step)(step, timeout=seconds).message

    def report(self, failure: pb.Failure) -> None:
        """Says that the silo cannot do its part of a round."""
        with self._explained():
            self._unary("Report", pb.Nothing)(failure, timeout=_CALL_SECONDS)

    def _unary(self, name: str, answer: Any) -> Callable[..., Any]:
        return _method(self._channel.unary_unary, name, answer)

    def _stream(self, name: str, answer: Any) -> Callable[..., Any]:
        return _method(self._channel.unary_stream, name, answer)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            self._explain(error)

    def _explain(self, error: grpc.RpcError) -> NoReturn:
        code, details = error.code(), errors.verbatim(error.details() or "")
        where = errors.setting("coordinator", self.address)
        if code == grpc.StatusCode.ABORTED:
            raise RoundOverError(details) from error
        if code in (
            grpc.StatusCode.FAILED_PRECONDITION,
            grpc.StatusCode.UNAUTHENTICATED,
            grpc.StatusCode.UNIMPLEMENTED,
        ):
            raise errors.UserError(f"{where}: refuses this silo, which {details}") from error
        if code == grpc.StatusCode.ALREADY_EXISTS:
            raise TakenError(f"{where}: {details}") from error
        if code == grpc.StatusCode.UNAVAILABLE and any(
            word in details.lower() for word in _HANDSHAKE
        ):
            raise errors.UserError(
                f"{where}: no secure connection: one end does not accept the other's certificate "
                f"({details[:200]})"
            ) from error
        raise AwayError(f"{where}: cannot be reached ({code.name.lower()}: {details})") from error


def _method(make: Callable[..., Any], name: str, answer: Any) -> Callable[..., Any]:
    """Returns a method of the service.

    Args:
      make: Function of the channel for the method's kind.
      name: Name of the method.
      answer: Class of its answers.
    """
    return make(
        f"/{service.NAME}/{name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=answer.FromString,
    )


class TakenError(errors.RunError):
    """Another process takes part under the silo's name."""


def again() -> Iterator[int]:
    """Yields the number of the attempt, from 0, with growing pauses between attempts."""
    pause, longest = _PAUSES
    for number in itertools.count():
        yield number
        time.sleep(min(pause * 2 ** min(number + 1, 10), longest))
