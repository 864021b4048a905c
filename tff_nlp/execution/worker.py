"""TFF's own worker as an execution context that ends with the program."""

import atexit
import contextlib
import gc
import os
import pathlib
import signal
import time

import tensorflow_federated as tff


def worker_context() -> tff.framework.SyncContext:
    """Returns TFF's local C++ context.

    TFF leaves its worker process running when Python exits, and with it whatever waits for the
    program's output; here it is ended with the program.
    """
    atexit.unregister(_end)
    atexit.register(_end)
    return tff.backends.native.create_sync_local_cpp_execution_context()


def _end() -> None:
    # Without a default context TFF's own clean-up runs now; later it would find its modules gone
    # and write a stack trace.
    tff.framework.set_default_context(_Ended())
    gc.collect()
    end_workers()


class _Ended(tff.framework.SyncContext):
    """The default context of a program that ends."""

    def invoke(self, comp: tff.framework.ConcreteComputation, arg: object) -> object:
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
