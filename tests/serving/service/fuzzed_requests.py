"""Malformed HTTP requests: random damage to the bytes, the head or the JSON of valid ones."""

import json
import random

TARGETS = (
    "/v1/predict",
    "/v1/models/model:predict",
    "/v1/models/model/versions/1:predict",
    "/v1/models/model",
    "/v1/models/%s%n\u00e9:predict",
    "/",
    "/docs",
    "/metrics",
    "/readyz",
    "//",
    "*",
    "http://other/v1/predict",
    "/v1/models/model/versions/99999999999999999999999:predict",
)
METHODS = ("POST", "POST", "POST", "GET", "PUT", "HEAD", "OPTIONS", "CONNECT", "BREW", "post", "")
VALUES = (
    None,
    True,
    -1,
    1e308,
    10**40,
    "",
    "x",
    "\x00",
    "\U0001f600",
    "x" * 3000,
    [],
    {},
    [[]],
    ["a", "b"],
    [["a", "b"]],
    {"b64": "eA=="},
    {"b64": "\u00e9"},
    {"texts": "x"},
    {"texts": 5},
)
KEYS = ("text", "texts", "instances", "inputs", "model", "version", "signature_name", "\x00", "x")
HEADERS = (
    "Content-Length: -1",
    "Content-Length: 5",
    "Content-Length: 99999999999999999999",
    "Content-Length: x",
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip",
    "Content-Encoding: gzip",
    "Content-Type: text/plain; charset=utf-7",
    "Expect: 100-continue",
    "Connection: upgrade\r\nUpgrade: websocket",
    "Authorization: Bearer \u00e9",
    "Host: a\r\nHost: b",
    "Cookie: " + "x" * 5000,
    "X: " + "y" * 20000,
    " folded",
    ": no name",
    "no colon",
)


def request(generator: random.Random) -> bytes:
    """Returns the bytes of a request that is probably malformed."""
    body = _body(generator)
    lines = [
        f"{generator.choice(METHODS)} {generator.choice(TARGETS)} "
        f"{generator.choice(('HTTP/1.1',) * 8 + ('HTTP/1.0', 'HTTP/2', 'HTTP/9.9', ''))}",
        "Host: x",
    ]
    if generator.random() < 0.8:
        lines.append(f"Content-Length: {len(body)}")
    lines += generator.sample(HEADERS, generator.choice((0, 0, 1, 2)))
    made = "\r\n".join([*lines, "", ""]).encode() + body
    return _damaged(made, generator) if generator.random() < 0.5 else made


def _body(generator):
    kind = generator.randrange(4)
    if kind == 0:
        return generator.randbytes(generator.randrange(200))
    if kind == 1:
        return generator.choice(
            (b"[" * 9000, b'{"a":' * 9000, b'"\\ud800"', b"NaN", b"", b"\xff\xfe")
        )
    keys = generator.sample(KEYS, generator.randrange(4))
    content = {key: _value(generator, depth=0) for key in keys}
    return json.dumps(content).encode()


def _value(generator, depth):
    if depth < 3 and generator.random() < 0.2:
        return [_value(generator, depth + 1) for _ in range(generator.randrange(4))]
    return generator.choice(VALUES)


def _damaged(made, generator):
    changed = bytearray(made)
    for _ in range(generator.choice((1, 1, 3, 20))):
        where = generator.randrange(len(changed))
        how = generator.randrange(4)
        if how == 0:
            changed[where] = generator.randrange(256)
        elif how == 1:
            del changed[where : where + generator.randrange(1, 20)]
        elif how == 2:
            changed[where:where] = generator.randbytes(generator.randrange(1, 20))
        else:
            del changed[where:]
        if not changed:
            return b"\r\n"
    return bytes(changed)
