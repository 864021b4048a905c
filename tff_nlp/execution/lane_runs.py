"""What lanes do in one round: clients shared out, run into accumulators, and summed up."""

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
      position: Of the client in the round's list of data sets.
      reason: Why, in words that do not name the client.
    """

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(f"client {position} of the round failed: {reason}")
        self.position = position
        self.reason = reason

    @classmethod
    def of(cls, position: int, cause: BaseException) -> "ClientError":
        """Returns the error of a client that failed because of another one."""
        failure = cls(position, _reason(cause))
        failure.__cause__ = cause
        return failure


def _reason(error: BaseException) -> str:
    """Returns what an error says, without where in TensorFlow's graphs it was."""
    if not isinstance(error, tf.errors.OpError):
        return str(error)
    lines = (line.split("[[{{node")[0].strip() for line in error.message.splitlines())
    noise = ("", "Graph execution error:", "<stack traces unavailable>")
    kept = [line for line in lines if line not in noise and not line.startswith("Detected at ")]
    return " ".join(kept) if kept else type(error).__name__


class Progress:
    """What the lanes of a round share: who failed, and whether to stop.

    Attributes:
      failures: The clients that failed so far.
      stopped: Whether no other client shall start.
    """

    def __init__(self, max_failed: float) -> None:
        self.failures: list[ClientError] = []
        self.stopped = False
        self._max_failed = max_failed
        self._lock = threading.Lock()
        self._running: set[cancellation.CancellationManager] = set()

    def fail(self, failure: ClientError) -> None:
        """Notes a failed client; one more than allowed stops every lane."""
        if self.stopped:
            return  # it failed because it was stopped
        self.failures.append(failure)
        if len(self.failures) > self._max_failed:
            self.stop()

    def stop(self) -> None:
        """Stops every lane, in the middle of its client."""
        with self._lock:
            self.stopped = True
            for manager in self._running:
                manager.start_cancel()

    @contextlib.contextmanager
    def client(self) -> Iterator[cancellation.CancellationManager]:
        """The context of one client; gives what stops it when the round stops."""
        # One per client: TensorFlow cancels the manager of a function that fails.
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
    """What the clients of a round, or some of them, come to.

    Attributes:
      accumulator: Their updates, accumulated.
      secure: Their secure sums.
      client_values: By position in the round: for each result that is placed at clients, the
        client's flat tensors.
    """

    accumulator: list[tf.Tensor]
    secure: list[tf.Tensor]
    client_values: dict[int, list[list[tf.Tensor]]]


class LaneRun:
    """One lane in one round.

    Attributes:
      lane: The lane; its accumulator is empty from here on.
      secure: Its partial secure sums.
      client_values: As of `Sums`.
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
          broadcast: What every client gets, flattened.
          progress: Shared by the lanes of the round.
          hidden: Takes what clients send to secure sums, shared by the lanes; None adds it up here.
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
        """Runs clients in order; what fails in TensorFlow is noted, and its client left out.

        Args:
          data: Position in the round and flattened data of each client.
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
    """Adds up lanes in their order, into the first one's accumulator."""
    first, *others = runs
    client_values = dict(first.client_values)
    for other in others:
        first.lane.merge(other.lane)
        first.secure = secure_sums.add(summands, first.secure, other.secure)
        client_values |= other.client_values
    return Sums(first.lane.values(), first.secure, client_values)


def cost(client: Any) -> int:
    """Returns the number of batches of a client where it is known, for sharing out the work."""
    total = 0
    for dataset in tf.nest.flatten(client):
        if isinstance(dataset, tf.data.Dataset):
            total += max(int(dataset.cardinality()), 1)
    return max(total, 1)


def share(costs: Sequence[int], count: int, *, in_order: bool = False) -> list[list[int]]:
    """Deals positions to lanes.

    It depends on the costs alone and not on which lane happens to be free, so that the same round
    adds the same floats in the same order.

    Args:
      costs: How long each client takes, relative to others.
      count: The number of lanes.
      in_order: Whether every lane's clients come before the next lane's. Otherwise the longest
        client goes first, to the lane with the least, ties in order: the loads are more even.
    """
    shares: list[list[int]] = [[] for _ in range(count)]
    if in_order:
        total, before = sum(costs), 0
        for position, own in enumerate(costs):
            # The lane in which the middle of the client's work lies.
            shares[(2 * before + own) * count // (2 * total)].append(position)
            before += own
        return shares
    loads = [0] * count
    for position in sorted(range(len(costs)), key=lambda p: -costs[p]):
        lane = loads.index(min(loads))
        loads[lane] += costs[position]
        shares[lane].append(position)
    return [sorted(share) for share in shares]
