"""Clients that send HTTP requests, each one after the other, and what they saw."""

import asyncio
import dataclasses
import json
import time
from collections.abc import Sequence


@dataclasses.dataclass
class Load:
    """What the clients of a service saw.

    Attributes:
      seconds: Seconds of each answered request, in the order of their ends.
      codes: Number of answers by status code.
      bodies: Bodies of the answers, if they are kept.
      broken: Reasons of requests that were sent but not answered.
      refused: Number of connections that could not be made.
      elapsed: Seconds of the whole load.
    """

    seconds: list[float] = dataclasses.field(default_factory=list)
    codes: dict[int, int] = dataclasses.field(default_factory=dict)
    bodies: list[bytes] = dataclasses.field(default_factory=list)
    broken: list[str] = dataclasses.field(default_factory=list)
    refused: int = 0
    elapsed: float = 0.0

    def percentile(self, share: float) -> float:
        """Returns the seconds in which this share of the answers had arrived."""
        ordered = sorted(self.seconds)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]

    @property
    def requests_per_second(self) -> float:
        """Answered requests per second."""
        return len(self.seconds) / self.elapsed


@dataclasses.dataclass(frozen=True)
class Target:
    """Where requests go.

    Attributes:
      host: Address of the service.
      port: Its port.
      path: Path of the address.
      key: API key, if one is needed.
    """

    host: str
    port: int
    path: str = "/v1/predict"
    key: str | None = None

    def request(self, content: object) -> bytes:
        """Returns a request with a JSON body."""
        body = json.dumps(content).encode()
        head = [
            f"POST {self.path} HTTP/1.1",
            f"Host: {self.host}",
            f"Content-Length: {len(body)}",
            "Content-Type: application/json",
        ]
        if self.key is not None:
            head.append(f"Authorization: Bearer {self.key}")
        return "\r\n".join([*head, "", ""]).encode() + body


async def run(
    target: Target,
    contents: Sequence[object],
    clients: int,
    seconds: float,
    *,
    keep_bodies: bool = False,
) -> Load:
    """Sends requests from several clients for some time.

    A client sends its next request when it has the answer to the one before. It makes a new
    connection if the service has closed the last one.

    Args:
      target: Where requests go.
      contents: Bodies of requests, which are sent in turn.
      clients: Number of clients.
      seconds: Time after which no further request is sent.
      keep_bodies: Whether to keep the bodies of the answers.
    """
    load = Load()
    began = time.perf_counter()
    requests = [target.request(content) for content in contents]

    async def client(number: int) -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        turn = number
        while time.perf_counter() - began < seconds:
            if connection is None:
                try:
                    connection = await asyncio.open_connection(target.host, target.port)
                except OSError:
                    load.refused += 1
                    await asyncio.sleep(0.01)
                    continue
            reader, writer = connection
            sent = time.perf_counter()
            try:
                writer.write(requests[turn % len(requests)])
                code, body, closes = await _answer(reader)
            except (OSError, asyncio.IncompleteReadError) as error:
                load.broken.append(type(error).__name__)
                writer.close()
                connection = None
                continue
            turn += clients
            load.seconds.append(time.perf_counter() - sent)
            load.codes[code] = load.codes.get(code, 0) + 1
            if keep_bodies:
                load.bodies.append(body)
            if closes:
                writer.close()
                connection = None
        if connection is not None:
            connection[1].close()

    await asyncio.gather(*map(client, range(clients)))
    load.elapsed = time.perf_counter() - began
    return load


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    """Returns the status code, the body, and whether the service closes the connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status, *lines = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return int(status.split()[1]), body, headers.get("connection", "").lower() == "close"
