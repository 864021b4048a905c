"""A virtual clock: which clients take part in each round, and when the round ends.

Everything derives from the seed and the devices. So a stopped run computes the same rounds again.
"""

import dataclasses
import functools
import heapq
import math
from collections.abc import Callable

import numpy as np

from tff_nlp import seeds
from tff_nlp.clients.devices import DAY, Devices
from tff_nlp.errors import UserError

# The server looks for available clients so often, in seconds.
_LOOKS = 900.0


@dataclasses.dataclass(frozen=True, eq=False)
class Round:
    """A round of training.

    Attributes:
      clients: Positions of the clients whose updates arrive, or who begin to train, int64[n].
      begins: bool[n], whether a client begins to train in this round.
      arrives: bool[n], whether its update arrives in this round.
      staleness: int64[n], number of rounds since the client began to train; 0 if it does not
        arrive.
      shares: float64[n], the part of its local work that a client does, above 0 and at most 1.
      selected: Number of clients that were asked to train.
      late: Number of those that were too slow, and were not waited for.
      vanished: Number of those that vanished.
      seconds: When the round ends, in seconds since training began.
    """

    clients: np.ndarray
    begins: np.ndarray
    arrives: np.ndarray
    staleness: np.ndarray
    shares: np.ndarray
    selected: int
    late: int
    vanished: int
    seconds: float


@dataclasses.dataclass(frozen=True)
class Waiting:
    """How long a server waits for the clients of a round.

    Attributes:
      clients_per_round: Number of updates that the server wants.
      over_selection: So many times as many clients are asked.
      deadline: Seconds after which a round ends; None to wait for the wanted number.
      partial: Whether a client that is too slow does a part of its work, instead of being late.
    """

    clients_per_round: int
    over_selection: float = 1.0
    deadline: float | None = None
    partial: bool = False


class SynchronousRounds:
    """Rounds in which the server waits for clients that all train from the same model.

    The server asks ceil(over_selection * clients_per_round) random available clients, and ends the
    round when the wanted number of updates has arrived, or at the deadline (Bonawitz et al. 2019,
    "Towards Federated Learning at Scale", section 2.2). If too few clients are available, it waits.

    Args:
      devices: The devices.
      durations: float64[clients], seconds that a round takes each client.
      fixed: float64[clients], the part of `durations` for sending and receiving, which a client
        that does less work still needs.
      waiting: How long the server waits.
      seed: Seed of the run.
    """

    def __init__(
        self,
        devices: Devices,
        durations: np.ndarray,
        fixed: np.ndarray,
        waiting: Waiting,
        seed: int,
    ) -> None:
        self._devices, self._durations, self._fixed = devices, durations, fixed
        self._waiting, self._seed = waiting, seed
        self._rounds: list[Round] = []

    def __call__(self, number: int) -> Round:
        """Returns the round with this number, from 0."""
        while len(self._rounds) <= number:
            before = self._rounds[-1].seconds if self._rounds else 0.0
            self._rounds.append(self._round(len(self._rounds), before))
        return self._rounds[number]

    def _round(self, number: int, before: float) -> Round:
        waiting, rng = self._waiting, seeds.generator(self._seed, "virtual_round", number)
        wanted = math.ceil(waiting.over_selection * waiting.clients_per_round)
        begin, candidates = _wait_for(self._devices, wanted, before)
        asked = np.sort(rng.choice(candidates, wanted, replace=False))
        vanishes = rng.random(wanted) < self._devices.failure_rate[asked]
        present = asked[~vanishes]
        durations, shares = self._durations[present], np.ones([len(present)])
        limit = math.inf if waiting.deadline is None else waiting.deadline
        if waiting.partial and waiting.deadline is not None:
            work = durations - self._fixed[present]
            possible = np.divide(
                limit - self._fixed[present], work, out=np.ones_like(work), where=work > 0
            )
            shares = np.clip(possible, 0, 1)
            durations = np.where(shares > 0, np.minimum(durations, limit), durations)
        order = np.argsort(durations, kind="stable")
        in_time = order[(durations[order] <= limit) & (shares[order] > 0)]
        kept = np.sort(in_time[: waiting.clients_per_round])
        enough = len(kept) == waiting.clients_per_round
        lasts = durations[kept].max() if enough else limit
        if not math.isfinite(lasts):
            # Without a deadline, the server waits until the last one that has not vanished.
            lasts = durations[kept].max(initial=0.0)
        count = len(kept)
        if not count:
            fastest = durations.min(initial=math.inf)
            raise UserError(
                f"`round_deadline`={limit:g}: no client sends an update in round {number + 1}; the "
                f"fastest one would need {fastest:,.1f} s"
            )
        return Round(
            clients=present[kept],
            begins=np.ones([count], bool),
            arrives=np.ones([count], bool),
            staleness=np.zeros([count], np.int64),
            shares=shares[kept],
            selected=wanted,
            late=len(present) - count,
            vanished=int(vanishes.sum()),
            seconds=begin + lasts,
        )


class BufferedRounds:
    """Rounds of FedBuff: clients train all the time, and each so many updates make a new model.

    Nguyen et al. 2022, "Federated Learning with Buffered Asynchronous Aggregation", algorithm 1.
    When an update arrives, another client begins with the newest model. Updates that arrive at the
    same time are taken before other clients begin. A client that vanishes is replaced, too.

    Args:
      devices: The devices.
      durations: float64[clients], seconds that a round takes each client.
      buffer: Number of updates that make a new model.
      concurrency: Number of clients that train at the same time.
      seed: Seed of the run.

    Raises:
      UserError: If there are too few clients.
    """

    def __init__(
        self,
        devices: Devices,
        durations: np.ndarray,
        *,
        buffer: int,
        concurrency: int,
        seed: int,
    ) -> None:
        # A client begins at most once in a round, and not in the one in which it arrives.
        needed = concurrency + buffer
        if len(devices) < needed:
            raise UserError(
                f"`concurrency`={concurrency}: fedbuff needs {needed} clients for it and "
                f"`clients_per_round`={buffer}, and there are {len(devices)}"
            )
        self._devices, self._durations = devices, durations
        self._buffer, self._concurrency = buffer, concurrency
        self._rng = functools.partial(seeds.generator, seed, "buffered_round")
        self._rounds: list[Round] = []
        self._now = 0.0
        # (time of arrival, position, round in which it began, whether it vanishes).
        self._training: list[tuple[float, int, int, bool]] = []

    def __call__(self, number: int) -> Round:
        """Returns the round with this number, from 0."""
        while len(self._rounds) <= number:
            self._rounds.append(self._round(len(self._rounds)))
        return self._rounds[number]

    def _round(self, number: int) -> Round:
        rng = self._rng(number)
        begun: dict[int, bool] = {}
        arrived: dict[int, int] = {}
        vanished = 0
        while True:
            while len(self._training) < self._concurrency:
                if not self._begin(number, rng, begun, arrived):
                    break
            now = self._training[0][0]
            while self._training and self._training[0][0] == now:
                _, client, began, vanishes = heapq.heappop(self._training)
                if vanishes:
                    vanished += 1
                    continue
                arrived[client] = number - began
                if len(arrived) == self._buffer:
                    break
            self._now = now
            if len(arrived) == self._buffer:
                return self._result(begun, arrived, vanished)

    def _begin(
        self,
        number: int,
        rng: np.random.Generator,
        begun: dict[int, bool],
        arrived: dict[int, int],
    ) -> bool:
        """Lets a random available client begin to train, and returns whether there is one.

        If no client trains, the server waits until one is available.
        """
        busy = [client for _, client, _, _ in self._training]
        taken = np.zeros([len(self._devices)], bool)
        taken[[*busy, *begun, *arrived]] = True
        free = np.flatnonzero(self._devices.available(self._now) & ~taken)
        if not len(free):
            if self._training:
                return False
            self._now, free = _wait_for(self._devices, 1, self._now, taken)
        client = int(rng.choice(free))
        vanishes = bool(rng.random() < self._devices.failure_rate[client])
        end = self._now + float(self._durations[client])
        heapq.heappush(self._training, (end, client, number, vanishes))
        begun[client] = not vanishes
        return True

    def _result(self, begun: dict[int, bool], arrived: dict[int, int], vanished: int) -> Round:
        # The training of those that will vanish is never seen, so it is left out.
        training = {client for client, stays in begun.items() if stays}
        clients = np.array(sorted({*training, *arrived}), np.int64)
        return Round(
            clients=clients,
            begins=np.array([int(client) in training for client in clients]),
            arrives=np.array([int(client) in arrived for client in clients]),
            staleness=np.array([arrived.get(int(client), 0) for client in clients], np.int64),
            shares=np.ones([len(clients)]),
            selected=len(begun),
            late=0,
            vanished=vanished,
            seconds=self._now,
        )


Schedule = Callable[[int], Round]


def _wait_for(
    devices: Devices,
    wanted: int,
    seconds: float,
    taken: np.ndarray | None = None,
) -> tuple[float, np.ndarray]:
    """Returns when enough clients are available, and which.

    Args:
      devices: The devices.
      wanted: Number of clients.
      seconds: The earliest time, since training began at midnight.
      taken: Clients that cannot be asked; None for no such clients.

    Raises:
      UserError: If there are too few at each time of the day.
    """
    most = 0
    for look in range(int(DAY / _LOOKS) + 1):
        time = seconds + look * _LOOKS
        possible = devices.available(time)
        if taken is not None:
            possible &= ~taken
        found = np.flatnonzero(possible)
        if len(found) >= wanted:
            return time, found
        most = max(most, len(found))
    raise UserError(
        f"`device_profiles`: {wanted} clients are wanted at the same time, and at most {most} are "
        "available in a day"
    )
