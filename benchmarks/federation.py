"""Measures a coordinator and many silos. Run it by scripts/benchmark_federation.

  scripts/benchmark_federation --silos=10,100 --secure_aggregation=none,masked --json=figures.json

The coordinator is `experiments/coordinator.py`, in a process of its own. All silos are threads of a
second process (`benchmarks.silo_threads`), each with its own keys, texts and connection; they share
the cores of this machine with the coordinator. The simulation is `experiments/train.py` with the
same texts, seed and clients, in one lane, which gives the same bits. Every time is a median over
rounds; the first round, in which TensorFlow compiles, is left out.
"""

import contextlib
import csv
import dataclasses
import json
import pathlib
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags

from benchmarks import flag_values, process_tree
from experiments.command_line import entry
from experiments.flags import groups
from tff_nlp.deployment import certificates
from tff_nlp.errors import RunError, UserError
from tff_nlp.privacy import names
from tff_nlp.runs import checks, text_table
from tff_nlp.runs.options import option

FLAGS = flags.FlagValues()
_ROOT = pathlib.Path(__file__).resolve().parents[1]
_LABELS = {"negative": ("awful", "poor", "dull", "broken"), "positive": ("great", "fine", "lovely")}
_THINGS = ("film", "meal", "room", "phone", "trip")
_SAMPLE_EVERY = 0.1
_COLUMNS = (
    "silos",
    "sums",
    "s/round",
    "simulated",
    "MB up",
    "MB down",
    "MB/s",
    "CPU s/round",
    "peak MB",
)


@dataclasses.dataclass(frozen=True)
class FederationFlags:
    """What to measure."""

    silos: str = option("10,100", "Numbers of silos, separated by commas.")
    secure_aggregation: str = option(
        f"{names.NONE},{names.MASKED}", "Ways to add the updates, separated by commas."
    )
    encoder: str = option("minilm", "Encoder: minilm, or a folder with a checkpoint.", path=True)
    trainable: str = option("head", "Weights that are trained and sent.", ("head", "all"))
    max_tokens: int = option(64, "Maximum number of tokens of a text.")
    texts: int = option(20, "Number of texts of each silo.")
    rounds: int = option(6, "Number of rounds. The first one is not counted.")
    simulation: bool = option(True, "Also measure the same rounds in a simulation.")
    json: str = option("", "File for the figures: a list of objects, one per row.", path=True)

    def __post_init__(self) -> None:
        flag_values.counts("silos", self.silos)
        for way in self.secure_aggregation.split(","):
            if way not in (names.NONE, names.MASKED):
                raise UserError(
                    f"--secure_aggregation={self.secure_aggregation}: must be {names.NONE}, "
                    f"{names.MASKED} or both"
                )
        checks.at_least(1, "texts", self.texts)
        checks.at_least(2, "rounds", self.rounds)


GROUPS = (FederationFlags,)
groups.define(FederationFlags, FLAGS)


def main() -> None:
    """Runs the measurement."""
    asked: FederationFlags = groups.parse(FederationFlags, FLAGS)
    rows = []
    for count in flag_values.counts("silos", asked.silos):
        for way in asked.secure_aggregation.split(","):
            with tempfile.TemporaryDirectory(prefix="federation_") as folder:
                rows.append(_measure(asked, count, way, pathlib.Path(folder)))
    print("\n".join(_table(rows)))
    if asked.json:
        pathlib.Path(asked.json).write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def _measure(asked: FederationFlags, count: int, way: str, folder: pathlib.Path) -> dict[str, Any]:
    silos = [f"silo_{number:03d}" for number in range(count)]
    _write_texts(folder, silos, asked.texts)
    certificates.enrol(folder / "keys", silos, ["localhost"])
    address = f"localhost:{_free_port()}"
    shared = [
        f"--encoder={asked.encoder}",
        f"--trainable={asked.trainable}",
        f"--max_tokens={asked.max_tokens}",
        f"--secure_aggregation={way}",
        f"--rounds={asked.rounds}",
        f"--eval_every={asked.rounds}",
    ]
    coordinator = [
        *_script("coordinator"),
        f"--identity={folder / 'keys' / 'coordinator'}",
        f"--listen={address}",
        "--status=",
        f"--labels={','.join(_LABELS)}",
        f"--output_dir={folder / 'run'}",
        *shared,
    ]
    local = asked.encoder if pathlib.Path(asked.encoder).is_dir() else ""
    threads = json.dumps(
        {
            "folder": str(folder),
            "coordinator": address,
            "silos": silos,
            "encoder_folder": local,
        }
    )
    with _started(coordinator) as (process, log):
        _wait_for(log, process, "listening ")
        with _started([sys.executable, "-m", "benchmarks.silo_threads", threads]) as (others, said):
            watched = _watch(process, others, said, folder / "run" / "metrics.csv", asked.rounds)
    row = {"silos": count, "secure_aggregation": way, "trainable": asked.trainable, **watched}
    result = json.loads((folder / "run" / "result.json").read_text(encoding="utf-8"))
    traffic = result["bytes_of_silos"].values()
    for direction in ("up", "down"):
        each = [one[direction] / asked.rounds for one in traffic]
        row[f"bytes_{direction}_per_silo"] = statistics.mean(each)
    row |= _seconds(folder / "run", "")
    if asked.simulation:
        simulated = [
            *_script("train"),
            f"--corpus={folder / 'all.csv'}",
            "--client_column=silo",
            f"--clients_per_round={count}",
            "--client_test_fraction=0",
            "--devices=/CPU:0",
            f"--output_dir={folder / 'simulation'}",
            *shared,
        ]
        with _started(simulated) as (process, log):
            if process.wait():
                raise RunError(f"the simulation failed: {_last_line(log)}")
        row |= _seconds(folder / "simulation", "simulated_")
    return row


def _write_texts(folder: pathlib.Path, silos: Sequence[str], count: int) -> None:
    """Writes the texts of each silo, and of all silos with a column of their names."""
    generator = random.Random(1)

    def rows() -> Iterator[tuple[str, str]]:
        for _ in range(count):
            label = generator.choice(list(_LABELS))
            words = generator.choice(_THINGS), generator.choice(_LABELS[label])
            yield f"the {words[0]} was {words[1]}", label

    with (folder / "all.csv").open("w", newline="", encoding="utf-8") as file:
        everything = csv.writer(file)
        everything.writerow(["text", "label", "silo"])
        for name in silos:
            own = list(rows())
            with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as one:
                csv.writer(one).writerows([("text", "label"), *own])
            everything.writerows((*row, name) for row in own)


def _script(name: str) -> list[str]:
    return [sys.executable, str(_ROOT / "experiments" / f"{name}.py")]


def _free_port() -> int:
    with socket.create_server(("localhost", 0)) as listening:
        return int(listening.getsockname()[1])


@contextlib.contextmanager
def _started(command: list[str]) -> Iterator[tuple["subprocess.Popen[bytes]", pathlib.Path]]:
    """Starts a program, and yields it with the file of its messages. It is ended afterwards."""
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        process = subprocess.Popen(
            command, cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        tree = process_tree.ProcessTree(process.pid)
        try:
            yield process, pathlib.Path(log.name)
        finally:
            tree.end()
            process.wait()


def _wait_for(log: pathlib.Path, process: "subprocess.Popen[bytes]", words: str) -> None:
    while words not in log.read_text(encoding="utf-8"):
        if process.poll() is not None:
            raise RunError(f"the coordinator did not start: {_last_line(log)}")
        time.sleep(_SAMPLE_EVERY)


def _watch(
    process: "subprocess.Popen[bytes]",
    silos: "subprocess.Popen[bytes]",
    said: pathlib.Path,
    metrics: pathlib.Path,
    rounds: int,
) -> dict[str, float]:
    """Returns the coordinator's peak memory, and its processor time of a round after the first."""
    tree = process_tree.ProcessTree(process.pid)
    seen: dict[int, float] = {}
    while process.poll() is None:
        tree.sample()
        done = max(0, len(metrics.read_bytes().splitlines()) - 1) if metrics.exists() else 0
        if done not in seen:
            seen[done] = tree.cpu_seconds()
        if silos.poll():
            raise RunError(f"the silos failed: {_last_line(said)}")
        time.sleep(_SAMPLE_EVERY)
    if process.returncode or rounds not in seen:
        raise RunError("the coordinator failed")
    first = min(number for number in seen if number)
    return {
        "coordinator_cpu_seconds": (seen[rounds] - seen[first]) / max(1, rounds - first),
        "coordinator_peak_bytes": tree.peak_bytes,
    }


def _seconds(run: pathlib.Path, prefix: str) -> dict[str, Any]:
    """Returns the median time of a round, and all of them, without the first round."""
    with (run / "metrics.csv").open(encoding="utf-8") as file:
        measured = [float(row["seconds"]) for row in csv.DictReader(file)][1:]
    return {f"{prefix}seconds": statistics.median(measured), f"all_{prefix}seconds": measured}


def _last_line(log: pathlib.Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "no message"


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    cells = []
    for row in rows:
        up, down = row["bytes_up_per_silo"], row["bytes_down_per_silo"]
        simulated = row.get("simulated_seconds")
        cells.append(
            (
                str(row["silos"]),
                row["secure_aggregation"],
                f"{row['seconds']:.2f}",
                "-" if simulated is None else f"{simulated:.2f}",
                f"{up / 1e6:.3f}",
                f"{down / 1e6:.3f}",
                f"{row['silos'] * (up + down) / 1e6 / row['seconds']:.1f}",
                f"{row['coordinator_cpu_seconds']:.2f}",
                f"{row['coordinator_peak_bytes'] / 1e6:.0f}",
            )
        )
    return text_table.aligned([_COLUMNS, *cells], left=0)


if __name__ == "__main__":
    entry.run(main, FLAGS, groups=GROUPS)
