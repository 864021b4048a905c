"""One attempt of a round: the weights that silos fetch, and the updates that they bring."""

import dataclasses
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tff_nlp import errors
from tff_nlp.deployment import federation_pb2 as pb
from tff_nlp.deployment import masked_attempt, pieces


@dataclasses.dataclass(frozen=True)
class Terms:
    """What all attempts of a federation share.

    Attributes:
      update_specs: Specs of what a silo sends in the clear.
      masked_bytes: Largest size of what it sends masked; 0 without secure aggregation.
      seconds: Seconds after which an attempt ends without the silos that are late.
      held_updates: Number of updates that may wait in memory for their turn.
    """

    update_specs: Sequence[tf.TensorSpec]
    masked_bytes: int
    seconds: float
    held_updates: int = 4

    @property
    def update_bytes(self) -> int:
        """Size of what a silo sends in the clear."""
        return sum(pieces.sizes(self.update_specs))


class Attempt:
    """One attempt of a round. Several threads use it.

    Attributes:
      number: The round, from 1.
      id: Random bytes.
      members: The silos that take part, in the order of the sum.
      broadcast: The weights that silos fetch.
      digest: SHA-256 of the weights.
      masked: The session of secure aggregation; None without it.
      failures: Why each silo is left out, by name.
      ends: When the updates must be there, in seconds of `time.monotonic`.
    """

    def __init__(
        self,
        number: int,
        members: Sequence[str],
        broadcast: Sequence[np.ndarray],
        terms: Terms,
        masked: masked_attempt.MaskedAttempt | None,
        positions: Mapping[str, int],
    ) -> None:
        self.number, self.id = number, os.urandom(16)
        self.members, self.broadcast = tuple(members), broadcast
        self.digest = pieces.digest(broadcast)
        self.masked, self.positions = masked, positions
        self.failures: dict[str, str] = {}
        self.ends = time.monotonic() + terms.seconds
        self._terms = terms
        self._updates: dict[str, bytearray] = {}
        self._taken: set[str] = set()
        self._changed = threading.Condition()
        self._closed = ""

    def task(self, taken: int) -> pb.Task:
        """Returns the task for a silo.

        Args:
          taken: The last round whose sum has an update of this silo.
        """
        return pb.Task(
            kind=pb.Task.TRAIN,
            attempt=pb.Attempt(round=self.number, attempt=self.id),
            digest=self.digest,
            seconds=max(self.ends - time.monotonic(), 1.0),
            taken=taken,
        )

    def expects(self, name: str) -> bool:
        """Whether the update of a silo is still missing."""
        with self._changed:
            return name in self.members and not self._closed and not self._is_done(name)

    def waiting_for(self) -> tuple[str, ...]:
        """Returns the silos whose updates are missing."""
        with self._changed:
            return tuple(name for name in self.members if not self._is_done(name))

    def take_upload(self, name: str, content: Iterator[bytes], stated: Callable[[], bytes]) -> int:
        """Receives the update of a silo, and returns its size in bytes.

        Args:
          name: Name of the silo.
          content: The pieces of the update.
          stated: Returns the digest of the last piece, after the content.

        Raises:
          DamagedError: If the update is not whole.
          RunError: If the update is not expected.
        """
        self._wait_for_room(name)
        most = self._terms.update_bytes + self._terms.masked_bytes
        found, digest = bytearray(), hashlib.sha256()
        for piece in content:
            if len(found) + len(piece) > most:
                raise pieces.DamagedError(f"more than the {most:,} bytes of an update arrived")
            found += piece
            digest.update(piece)
        least = self._terms.update_bytes if self.masked is not None else most
        if len(found) < least:
            raise pieces.DamagedError(f"{len(found):,} of {most:,} bytes of an update arrived")
        if digest.digest() != stated():
            raise pieces.DamagedError(pieces.CHANGED)
        with self._changed:
            self._check_expected(name)
            if self.masked is not None:
                message = bytes(found[self._terms.update_bytes :])
                step = masked_attempt.Step.MASKED_INPUT
                self.masked.add(self.positions[name], step, message)
            self._updates[name] = found[: self._terms.update_bytes]
            self._changed.notify_all()
        return len(found)

    def fail(self, name: str, reason: str) -> None:
        """Goes on without a silo."""
        with self._changed:
            if name in self._updates or name in self._taken or name in self.failures:
                return
            self.failures[name] = reason
            self._changed.notify_all()
        if self.masked is not None:
            self.masked.drop(self.positions[name], reason)

    def updates(self) -> Iterator[tuple[str, list[tf.Tensor]]]:
        """Yields the updates in the order of the members, each as soon as its turn comes.

        A silo without an update at the end of the time is left out.
        """
        for name in self.members:
            with self._changed:
                while not self._is_done(name) and not self._closed:
                    left = self.ends - time.monotonic()
                    if left <= 0:
                        self.failures[name] = "sent no update in time"
                    else:
                        self._changed.wait(min(left, 0.5))
                if self._closed:
                    return
                update = self._updates.pop(name, None)
                self._taken.add(name)
                self._changed.notify_all()
            if update is not None:
                yield name, pieces.decode(update, self._terms.update_specs)

    def close(self, why: str) -> None:
        """Ends the attempt. Later updates are refused."""
        with self._changed:
            self._closed = why
            self._updates.clear()
            self._changed.notify_all()
        if self.masked is not None:
            self.masked.abort(why)

    def _is_done(self, name: str) -> bool:
        return name in self._updates or name in self._taken or name in self.failures

    def _wait_for_room(self, name: str) -> None:
        """Waits until few updates wait for their turn, so that memory does not grow."""
        with self._changed:
            self._check_expected(name)
            while len(self._updates) >= self._terms.held_updates and self._next() != name:
                if self.masked is not None:
                    return  # The sum needs all inputs first, and the parts in the clear are small.
                self._check_expected(name)
                self._changed.wait(0.5)

    def _next(self) -> str | None:
        for name in self.members:
            if name not in self._taken and name not in self.failures:
                return name
        return None

    def _check_expected(self, name: str) -> None:
        if self._closed:
            raise errors.RunError(f"the round has ended: {self._closed}")
        if name not in self.members:
            raise errors.RunError(f"{name} does not take part in this round")
        if self._is_done(name):
            raise errors.RunError(f"{name} has sent its update, or was left out")
