"""Counts the bytes that each silo sends and receives."""

import dataclasses
import threading
from collections.abc import Iterable


@dataclasses.dataclass
class Bytes:
    """Bytes of content, without the framing of gRPC and TLS.

    Attributes:
      up: From the silo to the coordinator.
      down: From the coordinator to the silo.
    """

    up: int = 0
    down: int = 0


class Traffic:
    """The bytes of each silo since the coordinator began. Several threads may count."""

    def __init__(self, names: Iterable[str]) -> None:
        self._bytes = {name: Bytes() for name in names}
        self._lock = threading.Lock()

    def count(self, name: str, *, up: int = 0, down: int = 0) -> None:
        """Adds bytes."""
        with self._lock:
            self._bytes[name].up += up
            self._bytes[name].down += down

    def of(self, name: str) -> Bytes:
        """Returns the bytes of a silo so far."""
        with self._lock:
            return dataclasses.replace(self._bytes[name])
