"""Measures the HTTP service of trained classifiers. Run it by scripts/benchmark_serving.

  scripts/benchmark_serving --runs=float32=runs/a,int8=exports/a_int8 --clients=1,8,64 \
    --repeats=5 --json=serving.json

Each model has a service of its own, and all services run during the whole measurement. The clients
send requests of one text to one service at a time. The models take turns, and the turns are
repeated, so that a change of the machine meets all of them. Every figure is a median over the
repeats. Clients and services share the cores of this machine.
"""

import asyncio
import contextlib
import dataclasses
import json
import pathlib
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from absl import flags

from benchmarks import flag_values, http_load
from experiments.command_line import entry
from experiments.flags import groups
from tff_nlp.errors import RunError, UserError
from tff_nlp.runs import checks, text_table
from tff_nlp.runs.options import option

FLAGS = flags.FlagValues()
_ROOT = pathlib.Path(__file__).resolve().parents[1]
_ADDRESS = re.compile(r"serving at http://127\.0\.0\.1:(\d+)")
_WORDS = ("the", "a", "was", "is", "not", "very", "good", "bad", "food", "phone", "we", "but")
_TEXTS, _MOST_WORDS = 500, 40
_COLUMNS = ("model", "clients", "requests/s", "p50 ms", "p95 ms", "p99 ms")


@dataclasses.dataclass(frozen=True)
class ServingFlags:
    """What to measure."""

    runs: str = option("", "Models to measure, NAME=FOLDER, separated by commas.", path=True)
    clients: str = option("1,8,64", "Numbers of clients, separated by commas.")
    seconds: float = option(5.0, "Seconds of each measurement.")
    repeats: int = option(5, "Number of measurements of each model with each number of clients.")
    workers: int = option(1, "Number of workers of each service.")
    max_batch: int = option(32, "Maximum number of texts that a model labels together.")
    max_delay_ms: float = option(2.0, "Milliseconds that a text waits for others.")
    texts: str = option(
        "", "File with one text a line; empty: random words, 1 to 40 of them.", path=True
    )
    json: str = option("", "File for the figures: a list of objects, one per row.", path=True)

    def __post_init__(self) -> None:
        if not self.runs:
            raise UserError("--runs: must be given, for example --runs=demo=runs/demo")
        flag_values.counts("clients", self.clients)
        checks.above_zero("seconds", self.seconds)
        checks.at_least(1, "repeats", self.repeats)


GROUPS = (ServingFlags,)
groups.define(ServingFlags, FLAGS)


def main() -> None:
    """Runs the measurement."""
    asked: ServingFlags = groups.parse(ServingFlags, FLAGS)
    contents = [{"text": text} for text in _texts(asked)]
    with contextlib.ExitStack() as running:
        ports = {run: running.enter_context(_service(run, asked)) for run in asked.runs.split(",")}
        rows = list(_measure(asked, ports, contents))
    print("\n".join(_table(rows)))
    if asked.json:
        pathlib.Path(asked.json).write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def _texts(asked: ServingFlags) -> list[str]:
    if not asked.texts:
        generator = random.Random(1)
        lengths = (generator.randint(1, _MOST_WORDS) for _ in range(_TEXTS))
        return [" ".join(generator.choices(_WORDS, k=length)) for length in lengths]
    try:
        lines = pathlib.Path(asked.texts).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--texts={asked.texts}: cannot be read ({error})") from error
    texts = [line for line in lines if line.strip()]
    if not texts:
        raise UserError(f"--texts={asked.texts}: has no text")
    return texts


@contextlib.contextmanager
def _service(run: str, asked: ServingFlags) -> Iterator[int]:
    """Starts a service, and yields its port when it is ready."""
    command = [
        sys.executable,
        str(_ROOT / "experiments" / "serve.py"),
        f"--run={run}",
        "--port=0",
        f"--workers={asked.workers}",
        f"--max_batch={asked.max_batch}",
        f"--max_delay_ms={asked.max_delay_ms}",
    ]
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log)
        try:
            while True:
                written = pathlib.Path(log.name).read_text(encoding="utf-8")
                found = _ADDRESS.search(written)
                if found is not None:
                    break
                if process.poll() is not None:
                    raise RunError(f"the service of {run} did not start: {written.strip()}")
                time.sleep(0.1)
            yield int(found[1])
        finally:
            process.terminate()
            process.wait()


def _measure(
    asked: ServingFlags, ports: dict[str, int], contents: list[dict[str, str]]
) -> Iterator[dict[str, Any]]:
    """Yields a row for each number of clients and each model."""
    for clients in flag_values.counts("clients", asked.clients):
        loads: dict[str, list[http_load.Load]] = {run: [] for run in ports}
        for turn in range(asked.repeats + 1):
            for run, port in ports.items():
                target = http_load.Target("127.0.0.1", port)
                load = asyncio.run(http_load.run(target, contents, clients, asked.seconds))
                if load.broken or set(load.codes) != {200}:
                    raise RunError(f"{run}: answers {load.codes}, {len(load.broken)} broken")
                if turn:  # The first turn warms up.
                    loads[run].append(load)
        for run in ports:
            yield {
                "model": run,
                "clients": clients,
                "requests_per_second": _median(one.requests_per_second for one in loads[run]),
                **{
                    f"p{share}_ms": 1000
                    * _median(one.percentile(share / 100) for one in loads[run])
                    for share in (50, 95, 99)
                },
                "all_requests_per_second": [one.requests_per_second for one in loads[run]],
            }


def _median(values: Iterator[float]) -> float:
    return statistics.median(values)


def _table(rows: list[dict[str, Any]]) -> list[str]:
    cells = [
        (
            row["model"].partition("=")[0],
            str(row["clients"]),
            f"{row['requests_per_second']:.1f}",
            *(f"{row[f'p{share}_ms']:.1f}" for share in (50, 95, 99)),
        )
        for row in rows
    ]
    return text_table.aligned([_COLUMNS, *cells], left=0)


if __name__ == "__main__":
    entry.run(main, FLAGS, groups=GROUPS)
