"""Reads the bodies of requests: at most so many bytes, in at most so many seconds."""

import asyncio
import math
import time
from typing import Any

import pydantic_core
from fastapi import Request

from tff_nlp.serving.service.answers import RefusedError

# Bytes and seconds that are read of a body which is refused. A client that still sends does not
# see the answer if the connection is closed before.
_MOST_DISCARDED = 32 << 20
_SECONDS_DISCARDED = 2.0
_CLOSE = {"Connection": "close"}


async def read(request: Request, max_bytes: int, seconds: float) -> bytes:
    """Returns the body of a request.

    Args:
      request: The request.
      max_bytes: Maximum number of bytes, however they are sent.
      seconds: Maximum time until the last byte.

    Raises:
      RefusedError: With code 413 if the body is too large, 408 if it takes too long, and 400 if the
        client has gone.
    """
    body = bytearray()
    end = time.monotonic() + seconds
    too_large = RefusedError(413, f"the body has more than {max_bytes} bytes", _CLOSE)
    if _stated_length(request) > max_bytes:
        await discard(request)
        raise too_large
    while True:
        try:
            message = await asyncio.wait_for(request.receive(), max(end - time.monotonic(), 0))
        except asyncio.TimeoutError as error:
            why = f"the body did not arrive within {seconds:g} seconds"
            raise RefusedError(408, why, _CLOSE) from error
        if message["type"] != "http.request":
            raise RefusedError(400, "the client closed the connection", _CLOSE)
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > max_bytes:
            if more:
                await discard(request)
            raise too_large
        if not more:
            return bytes(body)


async def discard(request: Request) -> bool:
    """Reads the rest of a body, up to a limit. Returns whether it was read completely."""
    if "expect" in request.headers:  # The client waits for the answer before it sends the body.
        return False
    end = time.monotonic() + _SECONDS_DISCARDED
    read_bytes = 0
    while read_bytes < _MOST_DISCARDED:
        try:
            message = await asyncio.wait_for(request.receive(), max(end - time.monotonic(), 0))
        except asyncio.TimeoutError:
            return False
        read_bytes += len(message.get("body", b""))
        if not message.get("more_body", False):
            return True
    return False


def parse(body: bytes) -> dict[str, Any]:
    """Returns the JSON object of a body.

    Raises:
      RefusedError: With code 400 if it is not JSON, and 422 if it is not an object.
    """
    try:
        content = pydantic_core.from_json(body, allow_inf_nan=False)
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise RefusedError(400, f"the body is not JSON: {reason}") from error
    if not isinstance(content, dict):
        raise RefusedError(422, "the body must be a JSON object")
    return content


def _stated_length(request: Request) -> float:
    """Returns the number of bytes in the head of a request; 0 if it states none."""
    stated = request.headers.get("content-length", "0")
    return float(stated) if stated.isdecimal() else math.inf
