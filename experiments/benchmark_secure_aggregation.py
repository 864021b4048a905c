"""Measures masked secure aggregation; scripts/benchmark_secure_aggregation calls it.

  scripts/benchmark_secure_aggregation --clients=10,30,100 --entries=10000,1000000 \
    --dropout=0,0.1 --json=costs.json

Every row is one round in one process on one thread: random integers, masked, summed, unmasked and
compared with the exact sum. Clients that vanish do so after they shared their keys, before their
input arrives, which costs the server most. Seconds are processor time; seconds and
bytes of a client are means over the clients whose input arrived. Beside it stands the plain modular
sum: a client packs its integers, the server unpacks and adds them.
"""

import dataclasses
import json
import math
import os
import pathlib
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tqdm
from absl import flags

from experiments import entry, flag_groups
from experiments.flag_groups import flag
from tff_nlp import seeds
from tff_nlp.aggregation.secure_aggregation import (
    demands,
    messages,
    modular,
    session,
    simulation,
)
from tff_nlp.aggregation.secure_aggregation.steps import Step
from tff_nlp.errors import RunError, UserError

FLAGS = flags.FlagValues()
# Seconds between two signs of life where standard error is no terminal.
_QUIET = 10.0


@dataclasses.dataclass(frozen=True)
class BenchmarkFlags:
    """What is measured."""

    clients: str = flag("10,30,100", "Cohorts, separated by commas.")
    entries: str = flag("10000,1000000", "Vector lengths, separated by commas.")
    dropout: str = flag("0,0.1", "Shares of clients that vanish, separated by commas.")
    modulus: int = flag(2**20, "Of the sums, from 2 to 2^62.")
    secure_aggregation_threshold: int = flag(
        0, "Clients that must answer in each step; 0 is the least that is safe."
    )
    json: str = flag("", "File for the figures: a list of objects, one per row.")

    def __post_init__(self) -> None:
        if self.json and not pathlib.Path(self.json).absolute().parent.is_dir():
            raise UserError(f"--json={self.json}: there is no folder to write it to")
        for case in self.cases():
            case.check()

    def cases(self) -> list["Case"]:
        """Returns the rows, in order."""
        return [
            Case(clients, entries, dropout, self.modulus, self._threshold(clients))
            for entries in _numbers("entries", self.entries, int, least=1)
            for clients in _numbers("clients", self.clients, int, least=1)
            for dropout in _numbers("dropout", self.dropout, float, least=0)
        ]

    def _threshold(self, clients: int) -> int:
        return self.secure_aggregation_threshold or demands.DEFAULT.least_threshold(clients)


def _numbers(name: str, text: str, kind: Any, least: int) -> list[Any]:
    """Returns the numbers of a flag.

    Raises:
      UserError: If one is none, or too small.
    """
    try:
        found = [kind(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--{name}={text}: must be numbers, separated by commas") from None
    if not all(least <= number < math.inf for number in found):
        raise UserError(f"--{name}={text}: must be numbers from {least} on")
    return found


@dataclasses.dataclass(frozen=True)
class Case:
    """One row.

    Attributes:
      clients: The cohort.
      entries: Integers of each client.
      dropout: Share of the clients that vanish, rounded down to whole clients.
      modulus: Of the sums.
      threshold: Clients that must answer in each step.
    """

    clients: int
    entries: int
    dropout: float
    modulus: int
    threshold: int

    @property
    def vanishing(self) -> int:
        """How many clients vanish."""
        return int(self.clients * self.dropout)

    @property
    def vector(self) -> session.Vector:
        """What each client sends."""
        return session.Vector(self.entries, self.modulus)

    def check(self) -> None:
        """Refuses what no round can do.

        Raises:
          UserError: If fewer clients than the threshold remain, a number is out of its range, or
            clients would refuse it.
        """
        parameters = session.new(range(self.clients), [self.vector], self.threshold)
        demands.DEFAULT.check(parameters)
        if self.clients - self.vanishing < self.threshold:
            raise UserError(
                f"--dropout={self.dropout:g}: {self.clients - self.vanishing} of {self.clients}"
                f" clients would be left, the threshold is {self.threshold}"
            )

    def inputs(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yields the clients whose inputs arrive, and these: int64[entries]."""
        for client in range(self.vanishing, self.clients):
            generator = seeds.generator(0, "benchmark_secure_aggregation", client)
            yield client, generator.integers(0, self.modulus, self.entries)


@dataclasses.dataclass(frozen=True)
class Row:
    """What a case cost; of a client, the mean over those whose inputs arrived.

    Attributes:
      clients: The cohort.
      entries: Integers of each client.
      vanished: How many clients vanished.
      threshold: How many had to answer.
      client_seconds: Of a client, all steps.
      server_seconds: Of the server, all steps.
      client_bytes_up: Sent by a client.
      client_bytes_down: Sent to a client.
      client_seconds_by_step: Of a client.
      server_seconds_by_step: Of the server.
      plain_client_seconds: Of a client of the plain sum.
      plain_server_seconds: Of its server.
      plain_client_bytes_up: Sent by a client of the plain sum.
    """

    clients: int
    entries: int
    vanished: int
    threshold: int
    client_seconds: float
    server_seconds: float
    client_bytes_up: int
    client_bytes_down: int
    client_seconds_by_step: dict[str, float]
    server_seconds_by_step: dict[str, float]
    plain_client_seconds: float
    plain_server_seconds: float
    plain_client_bytes_up: int


def measure(case: Case) -> Row:
    """Runs one round each way, and compares the sums.

    Raises:
      RunError: If the secure sum is not the plain sum.
    """
    gone = dict.fromkeys(range(case.vanishing), Step.MASKED_INPUT)
    current = simulation.Round(range(case.clients), [case.vector], case.threshold, gone)
    plain = PlainSum(case.vector)
    title = f"{case.clients} clients, {case.entries:,} entries, {case.vanishing} vanish"
    for client, tensor in _shown(case.inputs(), case.clients - case.vanishing, title):
        current.add_input(client, [tensor])
        plain.add(tensor)
    result = current.finish()
    if not np.array_equal(result.sums[0], plain.sum()):
        raise RunError(f"{title}: the secure sum is not the plain sum")
    steps = simulation.STEPS
    of_client = {s: _mean(result.client_seconds[c][s] for c in result.survivors) for s in steps}
    return Row(
        clients=case.clients,
        entries=case.entries,
        vanished=case.vanishing,
        threshold=case.threshold,
        client_seconds=sum(of_client.values()),
        server_seconds=sum(result.server_seconds.values()),
        client_bytes_up=round(_mean(sum(result.bytes_up[c].values()) for c in result.survivors)),
        client_bytes_down=round(
            _mean(sum(result.bytes_down[c].values()) for c in result.survivors)
        ),
        client_seconds_by_step={s.name.lower(): of_client[s] for s in steps},
        server_seconds_by_step={s.name.lower(): result.server_seconds[s] for s in steps},
        plain_client_seconds=plain.client_seconds / len(result.survivors),
        plain_server_seconds=plain.server_seconds,
        plain_client_bytes_up=plain.bytes_up,
    )


class PlainSum:
    """The modular sum without masks, for comparison."""

    def __init__(self, vector: session.Vector) -> None:
        self._vectors = [vector]
        self._totals = modular.zeros(self._vectors)
        self.client_seconds = self.server_seconds = 0.0
        self.bytes_up = 0

    def add(self, tensor: np.ndarray) -> None:
        """Packs a client's integers, unpacks and adds them."""
        [vector], [total] = self._vectors, self._totals
        began = time.thread_time()
        packed = messages.encode_vectors(
            [modular.from_integers(tensor, vector.modulus)], self._vectors
        )
        sent = time.thread_time()
        [addend] = messages.decode_vectors(memoryview(packed), self._vectors)
        modular.add(total, addend, vector.modulus)
        self.client_seconds += sent - began
        self.server_seconds += time.thread_time() - sent
        self.bytes_up = len(packed)

    def sum(self) -> np.ndarray:
        """Returns the sum so far, word[entries]."""
        return modular.residues(self._totals[0], self._vectors[0].modulus)


def _shown(items: Iterable[Any], total: int, title: str) -> Iterable[Any]:
    """Shows progress on standard error: often on a terminal, else every some seconds."""
    quiet = 0.1 if sys.stderr.isatty() else _QUIET
    return tqdm.tqdm(items, title, total, leave=False, mininterval=quiet, delay=quiet, unit="input")


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


_HEADER = (
    "clients    entries vanish | client s   server s     KB up   KB down |"
    " plain: client s   server s     KB up"
)


def _line(row: Row) -> str:
    return (
        f"{row.clients:7} {row.entries:10,} {row.vanished:6} |"
        f" {row.client_seconds:8.4f} {row.server_seconds:10.4f}"
        f" {row.client_bytes_up / 1000:9,.1f} {row.client_bytes_down / 1000:9,.1f} |"
        f" {row.plain_client_seconds:15.4f} {row.plain_server_seconds:10.4f}"
        f" {row.plain_client_bytes_up / 1000:9,.1f}"
    )


def main() -> None:
    """Prints a row for each case, and writes them to the file."""
    chosen = flag_groups.parse(BenchmarkFlags, FLAGS)
    print(f"modulus {chosen.modulus}, {os.cpu_count()} cores, one of them used\n{_HEADER}")
    rows = []
    for case in chosen.cases():
        rows.append(measure(case))
        print(_line(rows[-1]), flush=True)
    if chosen.json:
        text = json.dumps([dataclasses.asdict(row) for row in rows], indent=2)
        pathlib.Path(chosen.json).write_text(text + "\n", encoding="utf-8")


flag_groups.define(BenchmarkFlags, FLAGS)

if __name__ == "__main__":
    entry.run(main, FLAGS)
