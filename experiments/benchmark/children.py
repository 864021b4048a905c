"""Runs one measurement in a process of its own, and watches that process from outside."""

import contextlib
import dataclasses
import io
import json
import pathlib
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import IO, cast

from experiments.benchmark import process_tree
from experiments.benchmark.task import Task

_ROOT = pathlib.Path(__file__).resolve().parents[2]

# Seconds between two samples of the memory.
_SAMPLE_EVERY = 0.05
# Seconds that a process may take to end after its last round.
_PATIENCE = 60.0


class MeasurementError(Exception):
    """A measuring process failed; the message is the last line that it wrote."""


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What one process measured.

    Attributes:
      contender: A name of `contenders.VARIANTS`.
      seconds: Of each round after the warm-up.
      cpu_seconds: Processor time, user and system, of all these rounds together.
      peak_bytes: The most resident memory at once, of all its processes, from start to end.
      memory_measure: How it was read, see `ProcessTree`.
      first_round_after: Seconds from the start of the process to the end of its first round.
    """

    contender: str
    seconds: tuple[float, ...]
    cpu_seconds: float
    peak_bytes: int
    memory_measure: str
    first_round_after: float


def measure(
    contender: str, shape_name: str, token_ids: str, rounds: int, warm_up: int
) -> Measurement:
    """Measures a contender in a fresh process.

    Args:
      contender: A name of `contenders.VARIANTS`.
      shape_name: What a round trains.
      token_ids: Distribution of the token ids.
      rounds: Rounds that count.
      warm_up: Rounds before them.

    Raises:
      MeasurementError: If the process fails.
    """
    task = Task(contender, shape_name, warm_up + rounds, token_ids, began=time.monotonic())
    reported: list[dict[str, float]] = []
    with tempfile.TemporaryFile() as log, _started(task, log) as process:
        tree = process_tree.ProcessTree(process.pid)
        try:
            cpu = []
            for line in _lines(process, tree):
                reported.append(json.loads(line))
                if len(reported) in (warm_up, task.rounds):
                    cpu.append(tree.cpu_seconds())
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE)
        finally:
            tree.end()
        if len(reported) < task.rounds or process.wait():
            raise MeasurementError(_failure(log, process.returncode))
    return Measurement(
        contender,
        tuple(line["seconds"] for line in reported[warm_up:]),
        cpu[-1] - cpu[0],
        tree.peak_bytes,
        tree.measure,
        reported[0]["since_start"],
    )


@contextlib.contextmanager
def _started(task: Task, log: IO[bytes]) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "experiments.benchmark.measuring_process", task.to_json()]
    process = subprocess.Popen(
        command, cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
    )
    with process:
        yield process


def _lines(process: "subprocess.Popen[bytes]", tree: process_tree.ProcessTree) -> Iterator[bytes]:
    """Yields the lines of a process until it closes its output; samples its memory meanwhile."""
    stream = cast(io.BufferedReader, process.stdout)
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        pending, due = b"", time.monotonic()
        while True:
            if time.monotonic() >= due:
                tree.sample()
                due = time.monotonic() + _SAMPLE_EVERY
            if not selector.select(max(due - time.monotonic(), 0)):
                continue
            received = stream.read1()
            if not received:
                return
            *lines, pending = (pending + received).split(b"\n")
            yield from lines


def _failure(log: IO[bytes], code: int) -> str:
    """Returns the last line of a log and where all of it is kept."""
    log.seek(0)
    written = log.read()
    with tempfile.NamedTemporaryFile(
        prefix="benchmark_rounds_", suffix=".log", delete=False
    ) as kept:
        kept.write(written)
    lines = [line.strip() for line in written.decode(errors="replace").splitlines()]
    last = next((line for line in reversed(lines) if line), f"exit code {code}")
    return f"{last} (log: {kept.name})"
