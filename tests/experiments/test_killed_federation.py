"""A federation of processes that are killed at random finishes, with the bits of a simulation."""

import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.deployment.conftest import free_port
from tests.runs import test_federation as parts
from tff_nlp.deployment import certificates

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAMES = ("north", "south", "west")
ROUNDS, KILLS = 10, 20
SHARED = [
    "--max_tokens=10",
    "--batch_size=4",
    f"--rounds={ROUNDS}",
    # A round takes some seconds, so that processes die in the middle of it.
    "--client_epochs=400",
    "--dp=gaussian",
    "--noise_multiplier=1",
    "--noise_seed=5",
    "--dropout=0",
    "--encoder_dropout=0",
    "--seed=3",
]


class Processes:
    """The processes of a federation, which can be killed and started again."""

    def __init__(self, folder):
        self.folder = folder
        certificates.enrol(folder / "keys", NAMES, ["localhost"])
        self.encoder = parts.write_encoder(folder / "encoder")
        parts.write_texts(folder, NAMES)
        self.address = f"localhost:{free_port()}"
        self.running, self.begins = {}, {}

    def wait_until_it_takes_part(self, name):
        """Waits until a process has started, or has ended."""
        for _ in range(3000):
            said = (self.folder / f"{name}.log").read_bytes()[self.begins[name] :]
            if b"joined" in said or b"listening" in said or self.running[name].poll() is not None:
                return
            time.sleep(0.1)
        raise AssertionError(f"{name} does not start")

    def command(self, name, *more):
        place = self.folder
        if name == "coordinator":
            return self.script(
                "coordinator",
                f"--identity={place}/keys/coordinator",
                f"--listen={self.address}",
                "--status=",
                "--labels=bad,good",
                f"--encoder={self.encoder}",
                f"--corpus={place}/test.csv",
                f"--output_dir={place}/run",
                *SHARED,
            )
        return self.script(
            "silo",
            f"--coordinator={self.address}",
            f"--identity={place}/keys/silos/{name}",
            f"--silo_dir={place}/{name}",
            f"--encoder_folder={self.encoder}",
            f"--corpus={place}/{name}.csv",
            *more,
        )

    def script(self, name, *flags):
        return [sys.executable, str(ROOT / "experiments" / f"{name}.py"), *flags]

    def start(self, name):
        log = (self.folder / f"{name}.log").open("ab")
        self.begins[name] = log.tell()
        environment = {**os.environ, "XDG_CACHE_HOME": str(self.folder / "cache")}
        self.running[name] = subprocess.Popen(
            self.command(name), stdout=log, stderr=log, cwd=self.folder, env=environment
        )

    def approve(self, name):
        environment = {**os.environ, "XDG_CACHE_HOME": str(self.folder / "cache")}
        for _ in range(100):
            done = subprocess.run(
                self.command(name, "--approve"),
                cwd=self.folder,
                env=environment,
                capture_output=True,
                text=True,
            )
            if done.returncode == 0:
                return
            assert "cannot be reached" in done.stderr, done.stderr
            time.sleep(1.0)
        raise AssertionError(done.stderr)

    def end(self):
        for process in self.running.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()


@pytest.fixture
def processes(tmp_path):
    found = Processes(tmp_path)
    yield found
    found.end()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_random_kills_change_nothing(processes, tmp_path):
    rng = random.Random(0)
    processes.start("coordinator")
    for name in NAMES:
        processes.approve(name)
        processes.start(name)
    for _ in range(KILLS):
        name = rng.choice(["coordinator", *NAMES])
        processes.wait_until_it_takes_part(name)
        time.sleep(rng.uniform(0.0, 4.0))
        process = processes.running[name]
        assert process.poll() is None, (tmp_path / f"{name}.log").read_text()[-3000:]
        process.send_signal(signal.SIGKILL)
        process.wait()
        processes.start(name)
    for name, process in processes.running.items():
        assert process.wait(600) == 0, (tmp_path / f"{name}.log").read_text()[-3000:]
    subprocess.run(
        processes.script(
            "train",
            f"--encoder={processes.encoder}",
            f"--corpus={tmp_path}/all.csv",
            f"--test_corpus={tmp_path}/test_of_all.csv",
            "--client_column=silo",
            "--keep_overlap",
            "--partition=natural",
            f"--clients_per_round={len(NAMES)}",
            "--client_test_fraction=0",
            "--devices=/CPU:0",
            f"--output_dir={tmp_path}/simulation",
            *SHARED,
        ),
        cwd=tmp_path,
        check=True,
    )
    assert parts.numbers(tmp_path / "run") == parts.numbers(tmp_path / "simulation")
    # Each round was released once, whatever was computed twice.
    events = (tmp_path / "run" / "privacy.jsonl").read_text().splitlines()
    assert [json.loads(event)["round"] for event in events] == list(range(1, ROUNDS + 1))
    ours, theirs = (
        json.loads((tmp_path / name / "result.json").read_text())["privacy"]
        for name in ("run", "simulation")
    )
    assert ours == theirs
    for name in NAMES:
        lines = (tmp_path / name / "sent.jsonl").read_text().splitlines()
        sent = {(e["round"], e["weights"], e["sha256"]) for e in map(json.loads, lines)}
        # A repeated update is the same update.
        assert len(sent) == ROUNDS
