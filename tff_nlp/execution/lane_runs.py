"""One round on lanes: clients are divided among lanes, run, and summed up."""

import contextlib
import dataclasses
import itertools
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import cancellation

from tff_nlp import errors
from tff_nlp.execution import lanes, secure_sums


class ClientError(errors.RunError):
    """A client's part of a round failed.

    Attributes:
      position: Position of the client in the round's list of data sets.
      reason: Why it failed. The text does not name the client.
    """

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(f"client {position} of the round failed: {reason}")
        self.position = position
        self.reason = reason

    @classmethod
    def of(cls, position: int, cause: BaseException) -> "ClientError":
        """Returns the error of a client that failed because of another error."""
        failure = cls(position, _reason(cause))
        failure.__cause__ = cause
        return failure


def _reason(error: BaseException) -> str:
    """Returns the message of an error, without its place in TensorFlow's graphs."""
    if not isinstance(error, tf.errors.OpError):
        return errors.message(error)
    lines = (line.split("[[{{node")[0].strip() for line in error.message.splitlines())
    noise = ("", "Graph execution error:", "<stack traces unavailable>")
    kept = [line for line in lines if line not in noise and not line.startswith("Detected at ")]
    return errors.verbatim(" ".join(kept)) if kept else type(error).__name__


class Progress:
    """What the lanes of a round share: which clients failed, and whether to stop.

    Attributes:
      failures: The clients that failed so far.
      stopped: Whether the round has stopped, so that no other client may start.
    """

    def __init__(self, max_failed: float) -> None:
        self.failures: list[ClientError] = []
        self.stopped = False
        self._max_failed = max_failed
        self._lock = threading.Lock()
        self._running: set[cancellation.CancellationManager] = set()

    def fail(self, failure: ClientError) -> None:
        """Stores a failed client. Stops every lane if more clients failed than allowed."""
        if self.stopped:
            return  # the client failed because it was stopped
        self.failures.append(failure)
        if len(self.failures) > self._max_failed:
            self.stop()

    def stop(self) -> None:
        """Stops every lane, also in the middle of a client."""
        with self._lock:
            self.stopped = True
            for manager in self._running:
                manager.start_cancel()

    @contextlib.contextmanager
    def client(self) -> Iterator[cancellation.CancellationManager]:
        """The context of one client. Yields a manager that is cancelled when the round stops."""
        # One manager per client, because TensorFlow cancels the manager of a function that fails.
        manager = cancellation.CancellationManager()
        with self._lock:
            self._running.add(manager)
            if self.stopped:
                manager.start_cancel()
        try:
            yield manager
        finally:
            with self._lock:
                self._running.discard(manager)


@dataclasses.dataclass(frozen=True)
class Sums:
    """The result of the clients of a round, or of some of them.

    Attributes:
      accumulator: Their accumulated updates.
      secure: Their secure sums.
      client_values: Results that are placed at clients, by the client's position in the round. Each
        result is a list of flat tensors.
    """

    accumulator: list[tf.Tensor]
    secure: list[tf.Tensor]
    client_values: dict[int, list[list[tf.Tensor]]]


class LaneRun:
    """One lane in one round.

    Attributes:
      lane: The lane. Its accumulator is empty when the run begins.
      secure: The partial secure sums of this lane.
      client_values: As in `Sums`, for the clients of this lane.
    """

    def __init__(
        self,
        lane: lanes.Lane,
        summands: Sequence[secure_sums.Summand],
        broadcast: Sequence[tf.Tensor],
        progress: Progress,
        hidden: secure_sums.HiddenSums | None = None,
    ) -> None:
        """Empties the lane's accumulator.

        Args:
          lane: The lane.
          summands: The round's secure sums.
          broadcast: The flattened values that the server sends to every client.
          progress: Progress of the round. All lanes share it.
          hidden: Protocol that computes the secure sums. All lanes share it. None adds the values
            in the clear.
        """
        self.lane = lane
        self.secure = secure_sums.zero(summands)
        self.client_values: dict[int, list[list[tf.Tensor]]] = {}
        self._summands = summands
        self._broadcast = lane.place(broadcast)
        self._progress = progress
        self._hidden = hidden
        lane.reset()

    def clients(self, data: Iterable[tuple[int, list[tf.Tensor]]]) -> None:
        """Runs clients in order. A client that fails in TensorFlow is noted and left out.

        Args:
          data: The position in the round and the flattened data of each client.
        """
        for position, tensors in data:
            if self._progress.stopped:
                return
            try:
                with self._progress.client() as stop:
                    outputs = self.lane.run(tensors, self._broadcast, stop)
            except tf.errors.OpError as error:
                self._progress.fail(ClientError.of(position, error))
                continue
            inputs = outputs[: len(self._summands)]
            values = iter(outputs[len(self._summands) :])
            self.client_values[position] = [
                list(itertools.islice(values, count)) for count in self.lane.value_sizes
            ]
            if self._hidden is not None:
                self._hidden.add(position, inputs)
            else:
                self.secure = secure_sums.add(self._summands, self.secure, inputs)


def merge(runs: Sequence[LaneRun], summands: Sequence[secure_sums.Summand]) -> Sums:
    """Adds up lanes in their order, into the accumulator of the first lane."""
    first, *others = runs
    client_values = dict(first.client_values)
    for other in others:
        first.lane.merge(other.lane)
        first.secure = secure_sums.add(summands, first.secure, other.secure)
        client_values |= other.client_values
    return Sums(first.lane.values(), first.secure, client_values)


def cost(client: Any) -> int:
    """Returns the relative running time of a client.

    It is the number of the client's batches; a data set of unknown size counts as one batch.
    """
    total = 0
    for dataset in tf.nest.flatten(client):
        if isinstance(dataset, tf.data.Dataset):
            total += max(int(dataset.cardinality()), 1)
    return max(total, 1)


def share(costs: Sequence[int], count: int, *, in_order: bool = False) -> list[list[int]]:
    """Divides clients among lanes.

    The result depends only on the costs and not on which lane is free first. So the same round adds
    the same floats in the same order.

    Args:
      costs: Relative running time of each client.
      count: Number of lanes.
      in_order: Whether all clients of a lane come before the clients of the next lane. Otherwise
        the clients are assigned from the longest to the shortest, each to the lane with the least
        work so far. This makes the loads more even.

    Returns:
      For each lane, the positions of its clients in ascending order.
    """
    shares: list[list[int]] = [[] for _ in range(count)]
    if in_order:
        total, before = sum(costs), 0
        for position, own in enumerate(costs):
            # The lane that contains the middle of the client's work.
            shares[(2 * before + own) * count // (2 * total)].append(position)
            before += own
        return shares
    loads = [0] * count
    for position in sorted(range(len(costs)), key=lambda p: -costs[p]):
        lane = loads.index(min(loads))
        loads[lane] += costs[position]
        shares[lane].append(position)
    return [sorted(share) for share in shares]
