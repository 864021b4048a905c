"""TFF's own worker as an execution context that ends with the program."""

import atexit
import contextlib
import gc
import os
import pathlib
import signal
import subprocess
import time
import weakref
from typing import Any

import tensorflow_federated as tff


class WorkerContext(tff.framework.SyncContext):
    """TFF's local C++ context; its worker process ends with the program."""

    def __init__(self) -> None:
        self._context = tff.backends.native.create_sync_local_cpp_execution_context()

    def invoke(self, comp: tff.framework.ConcreteComputation, arg: Any) -> Any:
        """Runs a computation; called by TFF."""
        if self._context is None:
            raise RuntimeError("the worker of this context has ended")
        try:
            return self._context.invoke(comp, arg)
        except KeyboardInterrupt:
            # TFF waits for the worker's answer before Python can end.
            self.close()
            raise

    def close(self) -> None:
        """Ends the worker processes; the context cannot be used any more."""
        end_workers()
        self._context = None


_contexts: "weakref.WeakSet[WorkerContext]" = weakref.WeakSet()


def worker_context() -> WorkerContext:
    """Returns TFF's local C++ context.

    TFF leaves its worker process running when Python exits, and with it whatever waits for the
    program's output; here it is ended with the program.
    """
    if not _watchers:  # the first context of this program
        atexit.register(_end)
        _watch()
    context = WorkerContext()
    _contexts.add(context)
    return context


# In the environment of this program's children, by which the watcher knows them.
_MARK = "TFF_NLP_WORKER_OF"
# Waits until its input ends, which it does however the program ended.
_WATCHER = r"""
read -r line
for folder in /proc/[0-9]*; do
  if grep -qsz "^$1\$" "$folder/environ" && grep -qsz "/worker_binary\$" "$folder/cmdline"; then
    kill -9 "${folder#/proc/}"
  fi
done
"""

_watchers: "list[subprocess.Popen[bytes]]" = []


def _watch() -> None:
    """Starts a shell that ends the workers when this program was killed and could not."""
    mark = f"{os.getpid()}-{time.time_ns()}"
    os.environ[_MARK] = mark
    quiet = subprocess.DEVNULL
    _watchers.append(
        subprocess.Popen(
            ["/bin/sh", "-c", _WATCHER, "sh", f"{_MARK}={mark}"],
            stdin=subprocess.PIPE,
            stdout=quiet,
            stderr=quiet,
            # Ctrl-C in a terminal reaches the whole group.
            start_new_session=True,
        )
    )


def _end() -> None:
    # TFF's own clean-up must run now: later it finds its modules gone and writes a stack trace.
    tff.framework.set_default_context(_Ended())
    for context in list(_contexts):
        context.close()
    end_workers()
    gc.collect()
    for watcher in _watchers:
        watcher.communicate()


class _Ended(tff.framework.SyncContext):
    """The default context of a program that ends."""

    def invoke(self, comp: tff.framework.ConcreteComputation, arg: Any) -> Any:
        raise RuntimeError("the program is ending")


def end_workers(patience: float = 2.0) -> None:
    """Ends the worker processes that this process started.

    Args:
      patience: Seconds to wait before a worker is killed outright.
    """
    pids = _workers()
    for pid in pids:
        _signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + patience
    while pids and time.monotonic() < deadline:
        time.sleep(0.02)
        pids = [pid for pid in pids if pid in _workers()]
    for pid in pids:
        _signal(pid, signal.SIGKILL)


def _workers() -> list[int]:
    """Returns the ids of this process's workers that run, also one that TFF itself waits for."""
    parent = str(os.getpid())
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", maxsplit=1)[1].split()
            name = (folder / "cmdline").read_bytes().split(b"\0")[0]
        except (OSError, IndexError):
            continue  # the process ended meanwhile
        if fields[1] == parent and pathlib.Path(os.fsdecode(name)).name == "worker_binary":
            found.append(int(folder.name))
    return found


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
