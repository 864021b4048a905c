"""HTTP connections with time limits, which uvicorn does not have for slow clients."""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

# Bytes of the head of a request.
MAX_HEAD = 16 << 10
_TOO_MANY = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
    b"Content-Type: application/json\r\nContent-Length: 33\r\n\r\n"
    b'{"error": "too many connections"}\n'
)


def with_time_limit(seconds: float, max_connections: int) -> type[asyncio.Protocol]:
    """Returns a class of connections that ends slow and surplus clients.

    Args:
      seconds: Maximum time for the head of a request, from its connection or from its first byte.
        `request_bodies.read` limits the time of the body.
      max_connections: Maximum number of open connections. Further ones get code 503.
    """

    class TimedConnection(H11Protocol):
        """An HTTP/1.1 connection that must send each head in time."""

        _head_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > max_connections:
                transport.write(_TOO_MANY)
                transport.close()
                return
            self._head_timer = self.loop.call_later(seconds, self._end)

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            super().connection_lost(exc)

        def handle_events(self) -> None:
            super().handle_events()
            # Idle, or in the head of a request. uvicorn's own timer only covers connections that
            # send nothing after an answer.
            in_head = self.conn.their_state is h11.IDLE
            if not in_head:
                self._stop_timer()
            elif self._head_timer is None and self.conn.trailing_data[0]:
                self._head_timer = self.loop.call_later(seconds, self._end)

        def _stop_timer(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

        def _end(self) -> None:
            self._head_timer = None
            self.transport.abort()

    return TimedConnection
