"""API keys: a file of salted hashes, new keys, and the check of a key that a client sent.

A key is NAME.SECRET, with a secret of 256 random bits. The file has one JSON object a line. It does
not contain the secret, so a key can be shown only once. To remove a key, remove its line.
"""

import dataclasses
import hashlib
import hmac
import json
import pathlib
import re
import secrets
from collections.abc import Iterable

from tff_nlp import durable_files
from tff_nlp.errors import UserError, setting, verbatim

MOST_PER_MINUTE = 1_000_000
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HEX = re.compile(r"[0-9a-f]{64}")
_SECRET_BYTES, _SALT_BYTES = 32, 32


@dataclasses.dataclass(frozen=True)
class ApiKey:
    """What the service knows of a key.

    Attributes:
      name: Name of the key, which the log shows.
      salt: Random salt, 64 hexadecimal digits.
      sha256: Hash of salt and secret, 64 hexadecimal digits.
      requests_per_minute: Requests that the key may make in any 60 seconds.
    """

    name: str
    salt: str
    sha256: str
    requests_per_minute: int


class ApiKeys:
    """The keys of a service."""

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        """Takes the keys."""
        self._by_name = {key.name: key for key in keys}
        # A name that does not exist costs the same time as a wrong secret.
        self._nobody = ApiKey("", secrets.token_hex(_SALT_BYTES), secrets.token_hex(32), 1)

    def find(self, sent: str) -> ApiKey | None:
        """Returns the key that a client sent, or None if it is not valid.

        The time of the check does not depend on the stored hash.
        """
        name, _, secret = sent.partition(".")
        key = self._by_name.get(name, self._nobody)
        right = hmac.compare_digest(_hash(key.salt, secret), key.sha256)
        return key if right and key is not self._nobody else None


def read(path: pathlib.Path, flag: str = "api_keys") -> tuple[ApiKey, ...]:
    """Returns the keys of a file.

    Raises:
      UserError: If the file cannot be read, has other content, or has no key.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UserError(f"{setting(flag, path)}: cannot be read ({verbatim(reason)})") from error
    keys: dict[str, ApiKey] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        key = _parse(line)
        if key is None or key.name in keys:
            why = "not a line of an API key" if key is None else f"{key.name} is there twice"
            raise UserError(f"{setting(flag, path)}: line {number}: {why}")
        keys[key.name] = key
    if not keys:
        raise UserError(f"{setting(flag, path)}: has no key; `new_key` adds one")
    return tuple(keys.values())


def add(path: pathlib.Path, name: str, requests_per_minute: int) -> str:
    """Adds a new key to a file, and returns it. It cannot be shown again.

    Args:
      path: The file. It is created if it does not exist.
      name: Name of the key.
      requests_per_minute: Requests that the key may make in any 60 seconds.

    Raises:
      UserError: If the name is not possible or exists, or the file has other content.
      WriteError: If the file cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{setting('new_key', name)}: must have 1 to 64 letters, digits, hyphens and "
            "underscores"
        )
    if not 1 <= requests_per_minute <= MOST_PER_MINUTE:
        raise UserError(
            f"{setting('requests_per_minute', requests_per_minute)}: must be from 1 to "
            f"{MOST_PER_MINUTE}"
        )
    keys = read(path) if path.exists() and path.stat().st_size else ()
    if name in {key.name for key in keys}:
        raise UserError(f"{setting('new_key', name)}: {verbatim(path)} has this name already")
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    salt = secrets.token_hex(_SALT_BYTES)
    key = ApiKey(name, salt, _hash(salt, secret), requests_per_minute)
    lines = [json.dumps(dataclasses.asdict(one)) for one in (*keys, key)]
    durable_files.replace_text(path, "\n".join(lines) + "\n")
    return f"{name}.{secret}"


def _hash(salt: str, secret: str) -> str:
    # One round is enough: nobody can guess a secret of 256 random bits.
    return hashlib.sha256(f"{salt}.{secret}".encode("utf-8", "surrogatepass")).hexdigest()


def _parse(line: str) -> ApiKey | None:
    try:
        key = ApiKey(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return None
    texts = (key.name, key.salt, key.sha256)
    patterns = (_NAME, _HEX, _HEX)
    if not all(isinstance(t, str) and p.fullmatch(t) for t, p in zip(texts, patterns, strict=True)):
        return None
    # A bool is an int in Python.
    if type(key.requests_per_minute) is not int:
        return None
    return key if 1 <= key.requests_per_minute <= MOST_PER_MINUTE else None
