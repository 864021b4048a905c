"""Limits of requests per minute that hold over all workers together, in shared memory."""

import contextlib
import dataclasses
import fcntl
import mmap
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from tff_nlp.serving.service.api_keys import ApiKey

WINDOW_SECONDS = 60.0
_NUMBER = 8  # Bytes.


@dataclasses.dataclass(frozen=True)
class Window:
    """Where the times of a key's last requests are stored.

    Attributes:
      offset: Position in the shared memory, in bytes, a multiple of a page.
      requests: Number of requests in any 60 seconds.
    """

    offset: int
    requests: int

    @property
    def size(self) -> int:
        """Size in bytes: a count, and the time of each request."""
        return _NUMBER * (1 + self.requests)


class WindowMemory:
    """The supervisor's side: shared memory with a window for each key.

    Forked workers inherit its file descriptor. The memory grows when keys are added. The window of
    a removed key stays, so that a key that comes back goes on with it.

    Attributes:
      descriptor: The file descriptor.
    """

    def __init__(self) -> None:
        """Makes the memory, without a window."""
        self.descriptor = os.memfd_create("rate_limits", os.MFD_CLOEXEC)
        self._windows: dict[tuple[str, int], Window] = {}
        self._end = 0

    def windows(self, keys: Sequence[ApiKey]) -> dict[str, Window]:
        """Returns the window of each key by the key's name, and makes those that are missing."""
        found = {}
        for key in keys:
            # The salt identifies a key. Another key may get the same name later.
            identity = (key.salt, key.requests_per_minute)
            if identity not in self._windows:
                window = Window(self._end, key.requests_per_minute)
                pages = -(-window.size // mmap.PAGESIZE)
                self._end += pages * mmap.PAGESIZE
                os.ftruncate(self.descriptor, self._end)
                self._windows[identity] = window
            found[key.name] = self._windows[identity]
        return found


class RateLimits:
    """A worker's side: whether a key may make a request now.

    The limit is exact: in no 60 seconds are more requests admitted, whichever workers answer them.
    """

    def __init__(
        self,
        descriptor: int,
        windows: Mapping[str, Window],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Maps the windows.

        Args:
          descriptor: File descriptor of the `WindowMemory`.
          windows: Window of each key, by the key's name.
          clock: Function that returns the time in seconds, the same in all processes.
        """
        self._descriptor = descriptor
        self._clock = clock
        self._windows = dict(windows)
        self._memory = {
            name: mmap.mmap(descriptor, window.size, offset=window.offset)
            for name, window in windows.items()
        }

    def seconds_to_wait(self, name: str) -> float:
        """Admits a request of a key and returns 0, or returns the seconds until the next one may.

        Args:
          name: Name of the key.

        Raises:
          KeyError: If there is no such key.
        """
        window = self._windows[name]
        with self._locked(window), memoryview(self._memory[name]).cast("d") as numbers:
            # The times are a ring. Its oldest one is where the next one is written.
            count = int(numbers[0])
            oldest = 1 + count % window.requests
            now = self._clock()
            if count >= window.requests and now - numbers[oldest] < WINDOW_SECONDS:
                return numbers[oldest] + WINDOW_SECONDS - now
            numbers[oldest] = now
            numbers[0] = count + 1
        return 0.0

    @contextlib.contextmanager
    def _locked(self, window: Window) -> Iterator[None]:
        """Locks a window. The kernel unlocks it if the process is killed."""
        where = (_NUMBER, window.offset)
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX, *where)
        try:
            yield
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, *where)
