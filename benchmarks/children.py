"""Runs one measurement in a separate process, and watches this process from outside."""

import contextlib
import dataclasses
import io
import json
import pathlib
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import IO, cast

from benchmarks import process_tree
from benchmarks.task import Task
from experiments.command_line import temporary_folder

_ROOT = pathlib.Path(__file__).resolve().parents[1]

# Seconds between two samples of the memory.
_SAMPLE_EVERY = 0.05
# A process is ended if less than this fraction of the machine's memory is left. Otherwise the
# kernel might end another process.
_LEAST_FREE = 0.05
# Seconds that a process may take to end after its last round.
_PATIENCE = 60.0


class MeasurementError(Exception):
    """A measuring process failed. The message is usually the last line that it wrote."""


class TooLargeError(Exception):
    """A contender needs more memory than the machine has."""


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What one process measured.

    Attributes:
      contender: A variant of `contenders.CONTEXTS`.
      seconds: Seconds of each round after the warm-up.
      cpu_seconds: Processor time (user and system) of all these rounds together.
      peak_bytes: Peak of the resident memory of all its processes, from start to end.
      memory_measure: How the memory was measured, see `ProcessTree`.
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
      contender: A variant of `contenders.CONTEXTS`.
      shape_name: Name of the shape.
      token_ids: Distribution of the token ids.
      rounds: Number of measured rounds.
      warm_up: Number of rounds before them that are not measured.

    Raises:
      MeasurementError: If the process fails.
      TooLargeError: If the machine does not have enough memory.
    """
    task = Task(contender, shape_name, warm_up + rounds, token_ids, began=time.monotonic())
    reported: list[dict[str, float]] = []
    with tempfile.TemporaryFile() as log, _started(task, log) as process:
        ended = False
        tree = process_tree.ProcessTree(process.pid)
        try:
            cpu = []
            for line in _lines(process, tree):
                reported.append(json.loads(line))
                if len(reported) in (warm_up, task.rounds):
                    cpu.append(tree.cpu_seconds())
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_PATIENCE)
                ended = True
        finally:
            tree.end()
        code = process.wait()
        # A process that does not end by itself after its last round has still been measured.
        if len(reported) < task.rounds or (ended and code):
            raise MeasurementError(_failure(log, code, tree.peak_bytes))
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
    command = [sys.executable, "-m", "benchmarks.measuring_process", task.to_json()]
    process = subprocess.Popen(
        command, cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
    )
    with process:
        yield process


def _lines(process: "subprocess.Popen[bytes]", tree: process_tree.ProcessTree) -> Iterator[bytes]:
    """Yields the output lines of a process until it closes its output. Also samples its memory."""
    stream = cast(io.BufferedReader, process.stdout)
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        pending, due = b"", time.monotonic()
        while True:
            if time.monotonic() >= due:
                tree.sample()
                if process_tree.free_memory_share() < _LEAST_FREE:
                    held = f"{tree.peak_bytes / 1e9:.1f} GB"
                    raise TooLargeError(f"needs more memory than there is: {held} and rising")
                due = time.monotonic() + _SAMPLE_EVERY
            if not selector.select(max(due - time.monotonic(), 0)):
                continue
            received = stream.read1()
            if not received:
                return
            *lines, pending = (pending + received).split(b"\n")
            yield from lines


def _failure(log: IO[bytes], code: int, peak_bytes: int) -> str:
    """Returns why a process failed, and the path of its log."""
    log.seek(0)
    written = log.read()
    with tempfile.NamedTemporaryFile(
        prefix="benchmark_rounds_", suffix=".log", delete=False, dir=temporary_folder.shared()
    ) as kept:
        kept.write(written)
    if code < 0:
        # The last line of the log is not the reason.
        reason = f"ended by {signal.Signals(-code).name}, after a peak of {peak_bytes / 1e9:.1f} GB"
    else:
        lines = [line.strip() for line in written.decode(errors="replace").splitlines()]
        reason = next((line for line in reversed(lines) if line), f"exit code {code}")
    return f"{reason} (log: {kept.name})"
