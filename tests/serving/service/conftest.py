"""Services with made-up models: in this process, and as processes."""

import asyncio
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]
# Seconds. A machine that also does other things may be slow.
PATIENCE = 300


class RunningService:
    """A service in processes of its own.

    Attributes:
      process: The supervisor.
      port: Its port.
    """

    def __init__(self, process, log):
        self.process = process
        self._log = log
        self.port = int(self.wait_for(r"serving at http://127\.0\.0\.1:(\d+)")[1])

    @property
    def log(self):
        return self._log.read_text()

    def wait_for(self, pattern, times=1):
        """Returns the match of a line of the log, when it is there so often."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            found = list(re.finditer(pattern, self.log))
            if len(found) >= times:
                return found[times - 1]
            assert self.process.poll() is None, self.log
            time.sleep(0.02)
        raise AssertionError(f"not in the log: {pattern}\n{self.log}")

    def workers(self):
        """Returns the process ids of the workers."""
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def signal(self, number):
        os.kill(self.process.pid, number)


@pytest.fixture
def serve(tmp_path):
    """Starts fake services with flags of the script. Ends them with the test."""
    with contextlib.ExitStack() as started:

        def start(*flags):
            log = tmp_path / f"log{len(list(tmp_path.glob('log*')))}"
            with log.open("w") as file:
                process = subprocess.Popen(
                    [
                        sys.executable,
                        "-m",
                        "tests.serving.service.fake_service",
                        "--port=0",
                        *flags,
                    ],
                    cwd=ROOT,
                    stderr=file,
                    stdin=subprocess.DEVNULL,
                )
            started.callback(_end, process)
            return RunningService(process, log)

        yield start


def _end(process):
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


@pytest.fixture
def run_async():
    """Runs a coroutine function to its end."""
    return asyncio.run
