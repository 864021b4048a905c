"""One round on Ray actors: sends the clients, survives dead actors, fetches the sums in order.

A cohort is divided into shares, one per actor of the plan, and each share into lanes. The division
depends only on the costs of the clients. When an actor dies, only its share is lost, not the round:
the share goes back to the queue, and the next free actor or the replacement runs it. The sums are
added in the order of the shares, so the result does not depend on which actor runs a share.
"""

import collections
import dataclasses
import functools
import itertools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray
import ray.exceptions
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp import errors
from tff_nlp.execution import lane_runs, ray_actors, share_actor, transport

_log = logging.getLogger(__name__)

# A lane has one piece that runs and one that waits, so that the lane never waits for the program.
_PIECES_AHEAD = 2
# A piece holds clients of one MiB in total, so that small clients do not need one call each. The
# number of clients is limited, so that a failure is reported soon. The first pieces of a lane have
# 1, 2, 4, ... clients, so that no lane waits long for its first piece.
_PIECE_BYTES = 1 << 20
_PIECE_CLIENTS = 16
# Seconds between two progress messages in the log.
_REPORT_SECONDS = 10.0

_tokens = itertools.count()


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits at which a round fails.

    Attributes:
      deaths: The round fails when this many actors have died while they ran the same share.
      start_seconds: How many seconds to wait for an actor to start when there is none.
      client_bytes: Maximum size of a client's data set in bytes.
    """

    deaths: int
    start_seconds: float
    client_bytes: int


@dataclasses.dataclass(frozen=True)
class Work:
    """The work of a round.

    Attributes:
      key: Key of the form.
      form: The packed form, in Ray's object store.
      broadcast: The values that the server sends to every client, in Ray's object store.
      data: The flattened data of each client.
      data_types: The flat types of a client's data.
    """

    key: int
    form: ray.ObjectRef
    broadcast: ray.ObjectRef
    data: Sequence[list[tf.Tensor]]
    data_types: Sequence[tff.Type]


@dataclasses.dataclass(eq=False)
class Share:
    """Some clients of the round.

    Attributes:
      lanes: Positions of the clients in the round, one list per lane.
      failures: The clients that failed in the latest attempt.
      clients_run: Number of clients that have run in the latest attempt.
      deaths: Number of times that the share was lost with its actor or machine.
      sums: The sums of the share in Ray's object store, or None before they are ready.
    """

    lanes: list[list[int]]
    failures: list[lane_runs.ClientError] = dataclasses.field(default_factory=list)
    clients_run: int = 0
    deaths: int = 0
    sums: ray.ObjectRef | None = None

    @property
    def positions(self) -> list[int]:
        """The positions of all clients of the share."""
        return sorted(position for lane in self.lanes for position in lane)


def shares(costs: Sequence[int], actors: int, lanes: int, *, in_order: bool = False) -> list[Share]:
    """Divides a cohort into shares. Empty shares are left out.

    Args:
      costs: Relative running time of each client.
      actors: Maximum number of shares.
      lanes: Number of lanes per share.
      in_order: As in `lane_runs.share`.
    """
    cut = []
    for positions in lane_runs.share(costs, actors, in_order=in_order):
        if positions:
            own = lane_runs.share([costs[p] for p in positions], lanes, in_order=in_order)
            cut.append(Share([[positions[i] for i in lane] for lane in own]))
    return cut


@dataclasses.dataclass(eq=False)
class _Attempt:
    """One attempt to run a share on an actor.

    Attributes:
      actor: The actor that runs the share.
      share: The share.
      token: Unique number of the attempt.
      waiting: Positions of the clients that are not sent yet, per lane.
      sent: Number of pieces sent, per lane.
      unanswered: Number of pieces that were sent and not answered yet.
    """

    actor: ray_actors.Actor
    share: Share
    token: int
    waiting: list[collections.deque[int]]
    sent: list[int]
    unanswered: int = 0


class Round:
    """Runs shares on the actors of a pool."""

    def __init__(
        self,
        pool: ray_actors.Pool,
        work: Work,
        shares_: Sequence[Share],
        limits: Limits,
        *,
        max_failed_clients: int,
    ) -> None:
        self._pool = pool
        self._work = work
        self._shares = list(shares_)
        self._limits = limits
        self._max_failed = max_failed_clients
        self._queue = collections.deque(self._shares)
        self._attempts: dict[ray_actors.Actor, _Attempt] = {}
        # The answers that the round waits for: the actor of each, and the function to call then.
        self._events: dict[ray.ObjectRef, tuple[ray_actors.Actor, Callable[[Any], None]]] = {}
        self._last_answer = self._last_report = time.monotonic()

    @property
    def failures(self) -> list[lane_runs.ClientError]:
        """The clients that failed so far."""
        return [failure for share in self._shares for failure in share.failures]

    def sums(self) -> Iterator[share_actor.ArraySums]:
        """Runs the round and yields the sums of each share, in the order of the shares.

        Sums are fetched only when they are yielded. The round ends early if more clients fail than
        allowed.

        Raises:
          RunError: If too many actors die while they run the same share, or no actor starts.
        """
        for actor in self._pool.actors:
            if actor.hello is None:
                self._expect_start(actor)
        missing = collections.deque(self._shares)
        try:
            while missing and len(self.failures) <= self._max_failed:
                self._give_work()
                if missing[0].sums is None:
                    self._wait()
                    continue
                sums = self._fetch(missing[0], missing[0].sums)
                if sums is not None:
                    missing.popleft()
                    yield sums
        finally:
            for actor in self._attempts:
                actor.handle.stop.remote()

    def _give_work(self) -> None:
        for actor in self._pool.actors:
            if self._queue and actor.hello is not None and actor not in self._attempts:
                self._begin(actor, self._queue.popleft())

    def _begin(self, actor: ray_actors.Actor, share: Share) -> None:
        share.failures, share.clients_run = [], 0
        attempt = _Attempt(
            actor,
            share,
            next(_tokens),
            waiting=[collections.deque(lane) for lane in share.lanes],
            sent=[0] * len(share.lanes),
        )
        self._attempts[actor] = attempt
        key = self._work.key
        packed = None if key in actor.forms else self._work.form
        ref = actor.handle.begin.remote(attempt.token, key, packed, self._work.broadcast)
        self._events[ref] = actor, functools.partial(self._begun, attempt)

    def _begun(self, attempt: _Attempt, _: None) -> None:
        attempt.actor.forms.add(self._work.key)
        for _piece in range(_PIECES_AHEAD):
            for lane in range(len(attempt.waiting)):
                self._send(attempt, lane)
        self._finish_if_done(attempt)

    def _send(self, attempt: _Attempt, lane: int) -> None:
        """Sends the next clients of a lane, if any are left."""
        clients = self._next_clients(attempt, lane)
        if not clients:
            return
        run = attempt.actor.handle.run.options(concurrency_group=ray_actors.group(lane))
        ref = run.remote(attempt.token, lane, attempt.sent[lane], clients)
        attempt.sent[lane] += 1
        attempt.unanswered += 1
        event = functools.partial(self._ran, attempt, lane, len(clients))
        self._events[ref] = attempt.actor, event

    def _next_clients(self, attempt: _Attempt, lane: int) -> list[tuple[int, list[Any]]]:
        waiting = attempt.waiting[lane]
        clients: list[tuple[int, list[Any]]] = []
        held = 0
        most = min(2 ** attempt.sent[lane], _PIECE_CLIENTS)
        while waiting and held < _PIECE_BYTES and len(clients) < most:
            position = waiting.popleft()
            try:
                values = transport.to_arrays(
                    self._work.data[position],
                    self._work.data_types,
                    max_bytes=self._limits.client_bytes,
                )
            except (tf.errors.OpError, transport.TooLargeError) as error:
                attempt.share.failures.append(lane_runs.ClientError.of(position, error))
            else:
                clients.append((position, values))
                held += transport.size(values)
        return clients

    def _ran(
        self, attempt: _Attempt, lane: int, count: int, failed: Sequence[tuple[int, str]]
    ) -> None:
        attempt.unanswered -= 1
        attempt.share.clients_run += count
        attempt.share.failures += [lane_runs.ClientError(p, why) for p, why in failed]
        self._send(attempt, lane)
        self._finish_if_done(attempt)

    def _finish_if_done(self, attempt: _Attempt) -> None:
        if attempt.unanswered == 0:
            finish = attempt.actor.handle.finish.options(num_returns=2)
            done, sums = finish.remote(attempt.token)
            self._events[done] = attempt.actor, functools.partial(self._finished, attempt, sums)

    def _finished(self, attempt: _Attempt, sums: ray.ObjectRef, _: None) -> None:
        attempt.share.sums = sums
        del self._attempts[attempt.actor]

    def _expect_start(self, actor: ray_actors.Actor) -> None:
        self._events[actor.started] = actor, functools.partial(self._pool.welcome, actor)

    def _wait(self) -> None:
        """Waits for answers and handles them; without an answer, only reports the progress."""
        # Results of shares stay at the actors. Answers are small.
        seconds = min(_REPORT_SECONDS, self._limits.start_seconds)
        ready, _ = ray.wait(list(self._events), timeout=seconds, fetch_local=False)
        self._report()
        for ref in ready:
            actor, event = self._events.pop(ref)
            try:
                value = ray.get(ref)
            except ray_actors.LOST as error:
                self._lose(actor, error)
            except ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, tf.errors.OpError):
                    raise errors.RunError(
                        f"Ray {actor}: {errors.verbatim(error.cause.message)}"
                    ) from error
                raise
            else:
                self._last_answer = time.monotonic()
                event(value)

    def _lose(self, actor: ray_actors.Actor, error: Exception) -> None:
        """Replaces a lost actor and puts its share back into the queue."""
        why = ray_actors.reason(error)
        self._events = {r: (a, e) for r, (a, e) in self._events.items() if a is not actor}
        attempt = self._attempts.pop(actor, None)
        self._expect_start(self._pool.replace(actor, error))
        if attempt is None:
            _log.warning("Ray %s is lost and is started again: %s", actor, why)
            return
        share = attempt.share
        _log.warning(
            "Ray %s is lost in the middle of the round; its %d clients run again: %s",
            actor,
            len(share.positions),
            why,
        )
        self._run_again(share, error)

    def _run_again(self, share: Share, error: Exception) -> None:
        share.deaths += 1
        if share.deaths >= self._limits.deaths:
            some = ", ".join(map(str, share.positions[:5]))
            more = ", ..." if len(share.positions) > 5 else ""
            raise errors.RunError(
                f"{share.deaths} Ray actors died one after another while they ran the clients at "
                f"positions {some}{more} of the round; the last one: {ray_actors.reason(error)}"
            ) from error
        share.failures, share.clients_run = [], 0
        self._queue.appendleft(share)

    def _fetch(self, share: Share, sums: ray.ObjectRef) -> share_actor.ArraySums | None:
        """Returns the sums of a share, or None if they were lost with their machine."""
        try:
            return ray.get(sums)
        except ray_actors.LOST as error:
            _log.warning(
                "the sums of %d clients are lost with their machine; they run again: %s",
                len(share.positions),
                ray_actors.reason(error),
            )
            self._run_again(share, error)
            return None
        finally:
            # In both cases Ray may now delete the sums.
            share.sums = None

    def _report(self) -> None:
        now = time.monotonic()
        if not self._attempts and now - self._last_answer > self._limits.start_seconds:
            raise errors.RunError(
                f"no Ray actor has started within {self._limits.start_seconds:.0f} seconds; Ray "
                f"has free {_resources(ray.available_resources())}, and an actor needs "
                f"{self._pool.plan.cpus} cores and {self._pool.plan.gpus:g} GPUs"
            )
        if now - self._last_report > _REPORT_SECONDS:
            self._last_report = now
            starting = sum(actor.hello is None for actor in self._pool.actors)
            _log.info(
                "round goes on: %d of %d clients run, %d actors at work, %d starting",
                sum(share.clients_run for share in self._shares),
                sum(len(share.positions) for share in self._shares),
                len(self._attempts),
                starting,
            )


def _resources(found: dict[str, float]) -> str:
    return f"{found.get('CPU', 0):g} cores and {found.get('GPU', 0):g} GPUs"
