"""Measures masked sums and encrypted sums. Run it by scripts/benchmark_secure_aggregation.

  scripts/benchmark_secure_aggregation --clients=10,30,100 --entries=10000,1000000 \
    --dropout=0,0.1 --json=costs.json

Every row is one round in one process on one thread. Random integers are masked, summed, unmasked
and compared with the exact sum. Clients drop out after they share their keys and before their input
arrives, which is the most expensive case for the server. Seconds are processor time. Seconds and
bytes of a client are means over the clients that sent their input. For comparison, each row also
has the plain modular sum: a client packs its integers, and the server unpacks and adds them. With
--ckks each row also has the same sum under CKKS encryption.
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

from experiments.command_line import entry
from experiments.flags import groups
from tff_nlp import seeds
from tff_nlp.aggregation.encryption import ckks
from tff_nlp.aggregation.secure_aggregation import (
    demands,
    messages,
    modular,
    session,
    simulation,
)
from tff_nlp.aggregation.secure_aggregation.steps import Step
from tff_nlp.errors import RunError, UserError
from tff_nlp.runs.options import option

FLAGS = flags.FlagValues()
# Seconds between two progress messages if standard error is not a terminal.
_QUIET = 10.0


@dataclasses.dataclass(frozen=True)
class BenchmarkFlags:
    """What to measure."""

    clients: str = option("10,30,100", "Cohort sizes, separated by commas.")
    entries: str = option("10000,1000000", "Vector lengths, separated by commas.")
    dropout: str = option("0,0.1", "Fractions of clients that drop out, separated by commas.")
    modulus: int = option(2**20, "Modulus of the sums, from 2 to 2^62.")
    secure_aggregation_threshold: int = option(
        0, "Number of clients that must answer in each step; 0 is the smallest safe number."
    )
    ckks: bool = option(False, "Also measure sums under CKKS encryption.")
    json: str = option("", "File for the figures: a list of objects, one per row.")

    def __post_init__(self) -> None:
        if self.json and not pathlib.Path(self.json).absolute().parent.is_dir():
            raise UserError(f"--json={self.json}: there is no folder to write it to")
        for case in self.cases():
            case.check()

    def cases(self) -> list["Case"]:
        """Returns the rows, in order."""
        return [
            Case(clients, entries, dropout, self.modulus, self._threshold(clients), self.ckks)
            for entries in _numbers("entries", self.entries, int, least=1)
            for clients in _numbers("clients", self.clients, int, least=1)
            for dropout in _numbers("dropout", self.dropout, float, least=0)
        ]

    def _threshold(self, clients: int) -> int:
        return self.secure_aggregation_threshold or demands.DEFAULT.least_threshold(clients)


def _numbers(name: str, text: str, kind: Any, least: int) -> list[Any]:
    """Returns the numbers of a flag.

    Raises:
      UserError: If a part is not a number, or is too small.
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
      clients: Number of clients.
      entries: Number of integers of each client.
      dropout: Fraction of the clients that drop out, rounded down to whole clients.
      modulus: Modulus of the sums.
      threshold: Number of clients that must answer in each step.
      ckks: Whether the sum is also computed under encryption.
    """

    clients: int
    entries: int
    dropout: float
    modulus: int
    threshold: int
    ckks: bool = False

    @property
    def dropouts(self) -> int:
        """Number of clients that drop out."""
        return int(self.clients * self.dropout)

    @property
    def vector(self) -> session.Vector:
        """The vector that each client sends."""
        return session.Vector(self.entries, self.modulus)

    def check(self) -> None:
        """Checks that a round with these numbers is possible.

        Raises:
          UserError: If fewer clients than the threshold remain, if a number is out of range, or if
            clients would refuse the round.
        """
        parameters = session.new(range(self.clients), [self.vector], self.threshold)
        demands.DEFAULT.check(parameters)
        if self.clients - self.dropouts < self.threshold:
            raise UserError(
                f"--dropout={self.dropout:g}: {self.clients - self.dropouts} of {self.clients}"
                f" clients would be left, the threshold is {self.threshold}"
            )

    def inputs(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (client, int64[entries] input) for the clients that do not drop out."""
        for client in range(self.dropouts, self.clients):
            generator = seeds.generator(0, "benchmark_secure_aggregation", client)
            yield client, generator.integers(0, self.modulus, self.entries)


@dataclasses.dataclass(frozen=True)
class Row:
    """The costs of a case. Costs of a client are means over the clients that sent their input.

    Attributes:
      clients: Number of clients.
      entries: Number of integers of each client.
      dropped: Number of clients that dropped out.
      threshold: Number of clients that had to answer in each step.
      client_seconds: Processor seconds of a client in all steps.
      server_seconds: Processor seconds of the server in all steps.
      client_bytes_up: Bytes that a client sends.
      client_bytes_down: Bytes that a client receives.
      client_seconds_by_step: Step -> processor seconds of a client.
      server_seconds_by_step: Step -> processor seconds of the server.
      plain_client_seconds: Processor seconds of a client for the plain sum.
      plain_server_seconds: Processor seconds of the server for the plain sum.
      plain_client_bytes_up: Bytes that a client sends for the plain sum.
      ckks_client_seconds: Processor seconds of a client that encrypts; 0 if it was not measured.
      ckks_server_seconds: The same of the server, which adds ciphertexts.
      ckks_holder_seconds: The same of the key holder, who decrypts the sum.
      ckks_client_bytes_up: Bytes that a client sends then.
    """

    clients: int
    entries: int
    dropped: int
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
    ckks_client_seconds: float = 0.0
    ckks_server_seconds: float = 0.0
    ckks_holder_seconds: float = 0.0
    ckks_client_bytes_up: int = 0


def measure(case: Case) -> Row:
    """Computes the sums of a case, and compares them.

    Raises:
      RunError: If a secure sum is not the plain sum.
    """
    gone = dict.fromkeys(range(case.dropouts), Step.MASKED_INPUT)
    current = simulation.Round(range(case.clients), [case.vector], case.threshold, gone)
    plain = PlainSum(case.vector)
    encrypted = ckks.Round(ckks.KeyHolder(), [(case.entries, case.modulus)]) if case.ckks else None
    title = f"{case.clients} clients, {case.entries:,} entries, {case.dropouts} dropped"
    for client, tensor in _shown(case.inputs(), case.clients - case.dropouts, title):
        current.add_input(client, [tensor])
        plain.add(tensor)
        if encrypted is not None:
            encrypted.add_input(client, [tensor])
    result = current.finish()
    if not np.array_equal(result.sums[0], plain.sum()):
        raise RunError(f"{title}: the secure sum is not the plain sum")
    costs = ckks.Costs()
    if encrypted is not None:
        if not np.array_equal(encrypted.finish()[0], plain.sum()):
            raise RunError(f"{title}: the encrypted sum is not the plain sum")
        costs = encrypted.costs
    steps = simulation.STEPS
    of_client = {s: _mean(result.client_seconds[c][s] for c in result.survivors) for s in steps}
    return Row(
        clients=case.clients,
        entries=case.entries,
        dropped=case.dropouts,
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
        ckks_client_seconds=_mean(costs.client_seconds or [0.0]),
        ckks_server_seconds=costs.server_seconds,
        ckks_holder_seconds=costs.holder_seconds,
        ckks_client_bytes_up=round(_mean(costs.client_bytes or [0])),
    )


class PlainSum:
    """The modular sum without masks, for comparison.

    Attributes:
      client_seconds: Processor seconds of all clients so far.
      server_seconds: Processor seconds of the server so far.
      bytes_up: Bytes that one client sends.
    """

    def __init__(self, vector: session.Vector) -> None:
        self._vectors = [vector]
        self._totals = modular.zeros(self._vectors)
        self.client_seconds = self.server_seconds = 0.0
        self.bytes_up = 0

    def add(self, tensor: np.ndarray) -> None:
        """Packs a client's integers, unpacks them and adds them to the sum."""
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
    """Shows progress on standard error: often on a terminal, else every few seconds."""
    quiet = 0.1 if sys.stderr.isatty() else _QUIET
    return tqdm.tqdm(items, title, total, leave=False, mininterval=quiet, delay=quiet, unit="input")


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


_HEADER = (
    "clients    entries dropped | client s   server s     KB up   KB down |"
    " plain: client s   server s     KB up"
)
_CKKS_HEADER = " | ckks: client s   server s   holder s       KB up"


def _line(row: Row) -> str:
    encrypted = (
        f" | {row.ckks_client_seconds:14.4f} {row.ckks_server_seconds:10.4f}"
        f" {row.ckks_holder_seconds:10.4f} {row.ckks_client_bytes_up / 1000:11,.1f}"
    )
    return (
        f"{row.clients:7} {row.entries:10,} {row.dropped:7} |"
        f" {row.client_seconds:8.4f} {row.server_seconds:10.4f}"
        f" {row.client_bytes_up / 1000:9,.1f} {row.client_bytes_down / 1000:9,.1f} |"
        f" {row.plain_client_seconds:15.4f} {row.plain_server_seconds:10.4f}"
        f" {row.plain_client_bytes_up / 1000:9,.1f}{encrypted if row.ckks_client_bytes_up else ''}"
    )


def main() -> None:
    """Prints a row for each case, and writes the rows to the file of --json."""
    chosen = groups.parse(BenchmarkFlags, FLAGS)
    header = _HEADER + (_CKKS_HEADER if chosen.ckks else "")
    print(f"modulus {chosen.modulus}, {os.cpu_count()} cores, one of them used\n{header}")
    rows = []
    for case in chosen.cases():
        rows.append(measure(case))
        print(_line(rows[-1]), flush=True)
    if chosen.json:
        text = json.dumps([dataclasses.asdict(row) for row in rows], indent=2)
        pathlib.Path(chosen.json).write_text(text + "\n", encoding="utf-8")


groups.define(BenchmarkFlags, FLAGS)

if __name__ == "__main__":
    entry.run(main, FLAGS)
