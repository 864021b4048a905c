"""Messages between the supervisor and a worker: JSON objects, one a line, over a socket pair."""

import asyncio
import dataclasses
import json
import pathlib
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from tff_nlp.serving.service.api_keys import ApiKey
from tff_nlp.serving.service.model_list import ModelSpec
from tff_nlp.serving.service.rate_limits import Window

# From the supervisor: load other models; use them; forget them; finish.
PREPARE, COMMIT, ABORT, STOP = "prepare", "commit", "abort", "stop"
# From a worker: it serves; it cannot start; it has loaded the other models; it cannot load them.
READY, FAILED, PREPARED, REFUSED = "ready", "failed", "prepared", "refused"
_SEND_SECONDS = 5.0


@dataclasses.dataclass(frozen=True)
class Offer:
    """What a worker offers: its models, and the keys of its clients.

    Attributes:
      models: The models.
      keys: The API keys; None if no key is needed.
      windows: Where the rate limit of each key is stored, by the key's name.
    """

    models: tuple[ModelSpec, ...]
    keys: tuple[ApiKey, ...] | None
    windows: Mapping[str, Window]

    def to_json(self) -> dict[str, Any]:
        """Returns the offer as a JSON value."""
        return {
            "models": [{**dataclasses.asdict(m), "folder": str(m.folder)} for m in self.models],
            "keys": None if self.keys is None else [dataclasses.asdict(key) for key in self.keys],
            "windows": {name: dataclasses.asdict(w) for name, w in self.windows.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Offer":
        """Returns the offer of a value that `to_json` returned."""
        models = [ModelSpec(**{**m, "folder": pathlib.Path(m["folder"])}) for m in value["models"]]
        keys = None if value["keys"] is None else tuple(ApiKey(**key) for key in value["keys"])
        windows = {name: Window(**window) for name, window in value["windows"].items()}
        return cls(tuple(models), keys, windows)


def encode(kind: str, **content: Any) -> bytes:
    """Returns a message."""
    return json.dumps({"kind": kind, **content}).encode() + b"\n"


class SupervisorEnd:
    """The supervisor's end. A worker that reads nothing delays it by a few seconds at most."""

    def __init__(self, end: socket.socket) -> None:
        """Takes the socket."""
        self.socket = end
        end.settimeout(_SEND_SECONDS)
        self._unread = b""

    def send(self, kind: str, **content: Any) -> None:
        """Sends a message. If the worker has died, nothing happens here."""
        try:
            self.socket.sendall(encode(kind, **content))
        except OSError:
            return

    def received(self) -> Iterator[dict[str, Any]]:
        """Yields the messages that have arrived, after the socket became readable."""
        try:
            self._unread += self.socket.recv(1 << 16)
        except OSError:
            return
        *lines, self._unread = self._unread.split(b"\n")
        yield from map(json.loads, lines)

    def close(self) -> None:
        """Closes the socket."""
        self.socket.close()


class WorkerEnd:
    """A worker's end, in its event loop."""

    def __init__(self, end: socket.socket) -> None:
        """Takes the socket."""
        self._socket = end

    def send(self, kind: str, **content: Any) -> None:
        """Sends a message, at once. The messages of a worker are short."""
        try:
            self._socket.sendall(encode(kind, **content))
        except OSError:
            return

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """Yields messages. Ends if the supervisor has died."""
        reader, _ = await asyncio.open_connection(sock=self._socket.dup(), limit=1 << 30)
        while line := await reader.readline():
            yield json.loads(line)


def pair() -> tuple[socket.socket, socket.socket]:
    """Returns two connected sockets."""
    return socket.socketpair()
