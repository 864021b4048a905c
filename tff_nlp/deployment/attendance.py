"""Which silos are there, and the tasks that wait for each."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from tff_nlp import errors
from tff_nlp.deployment import federation_pb2 as pb


class RefusedError(errors.RunError):
    """A silo may not take part."""


class Seat:
    """The place of a silo that is there.

    Attributes:
      name: Name of the silo.
      process: Random bytes that the process of the silo chose.
      tasks: The tasks that wait for it. None ends the seat.
    """

    def __init__(self, name: str, process: bytes) -> None:
        self.name, self.process = name, process
        self.tasks: queue.SimpleQueue[pb.Task | None] = queue.SimpleQueue()


class Attendance:
    """The silos that are there. Several threads may use it.

    Attributes:
      names: Names of all silos, sorted.
    """

    def __init__(self, names: Iterable[str], say: Callable[[str, str], None]) -> None:
        """Begins without any silo.

        Args:
          names: Names of the silos that may take part.
          say: Function that shows a line: a word and a marked text (`errors`).
        """
        self.names: Sequence[str] = tuple(sorted(names))
        self._say = say
        self._seats: dict[str, Seat] = {}
        self._changed = threading.Condition()
        self._on_arrival: Callable[[str], pb.Task | None] = lambda _: None

    def arrive(self, name: str, process: bytes) -> Seat:
        """Gives a silo its seat.

        Args:
          name: Name in its certificate.
          process: Random bytes of its process. The same process may come again: its old connection
            may be cut without anybody knowing yet.

        Raises:
          RefusedError: If no such silo takes part, or another process has its seat.
        """
        with self._changed:
            if name not in self.names:
                raise RefusedError(f"{errors.verbatim(name)} is not one of the silos")
            old = self._seats.get(name)
            if old is not None and old.process != process:
                raise RefusedError(f"another process takes part as {name}")
            if old is not None:
                old.tasks.put(None)
            seat = self._seats[name] = Seat(name, process)
            task = self._on_arrival(name)
            if task is not None:
                seat.tasks.put(task)
            self._changed.notify_all()
        self._say("silo", f"{name} is {'back' if old else 'there'}")
        return seat

    def leave(self, seat: Seat) -> None:
        """Takes the seat of a silo that is gone."""
        with self._changed:
            present = self._seats.get(seat.name) is seat
            if present:
                del self._seats[seat.name]
                self._changed.notify_all()
        if present:
            self._say("silo", f"{seat.name} is gone")

    def present(self) -> tuple[str, ...]:
        """Returns the names of the silos that are there, sorted."""
        with self._changed:
            return tuple(sorted(self._seats))

    def send(self, names: Iterable[str], make: Callable[[str], pb.Task]) -> None:
        """Gives each of some silos a task, if it is there."""
        with self._changed:
            for name in names:
                if name in self._seats:
                    self._seats[name].tasks.put(make(name))

    def greet_with(self, make: Callable[[str], pb.Task | None]) -> None:
        """Sets the function that returns the task of a silo that arrives, or None."""
        with self._changed:
            self._on_arrival = make

    def wait(self, names: Sequence[str], enough: int, seconds: float) -> tuple[str, ...]:
        """Waits for all of some silos, and after some time for enough of them.

        Args:
          names: The silos.
          enough: Number of silos that suffice when the time is over.
          seconds: The time.

        Returns:
          Those that are there, in the order of `names`.
        """
        ends = time.monotonic() + seconds
        announced: tuple[str, ...] = ()
        with self._changed:
            while True:
                there = tuple(name for name in names if name in self._seats)
                missing = tuple(name for name in names if name not in self._seats)
                left = ends - time.monotonic()
                if not missing or (left <= 0 and len(there) >= enough):
                    return there
                if missing != announced:
                    self._say("waiting", f"for {', '.join(missing)}")
                    announced = missing
                self._changed.wait(min(left, 1.0) if left > 0 else 1.0)

    def close(self) -> None:
        """Ends all seats."""
        with self._changed:
            for seat in self._seats.values():
                seat.tasks.put(None)
