"""TFF's own worker as an execution context that ends with the program."""

import atexit
import contextlib
import gc
import os
import pathlib
import signal
import subprocess
import threading
import time
import weakref
from typing import Any

import tensorflow_federated as tff


class WorkerContext(tff.framework.SyncContext):
    """TFF's local C++ context. Its worker process ends with the program."""

    def __init__(self) -> None:
        _pass_on_no_ignored_signal()
        self._context = tff.backends.native.create_sync_local_cpp_execution_context()

    def invoke(self, comp: tff.framework.ConcreteComputation, arg: Any) -> Any:
        """Runs a computation. TFF calls this method."""
        if self._context is None:
            raise RuntimeError("the worker of this context has ended")
        try:
            return self._context.invoke(comp, arg)
        except KeyboardInterrupt:
            # Otherwise TFF waits for the worker's answer before Python can exit.
            self.close()
            raise

    def close(self) -> None:
        """Ends the worker processes. The context cannot be used any more."""
        end_workers()
        self._context = None


_contexts: "weakref.WeakSet[WorkerContext]" = weakref.WeakSet()


def worker_context() -> WorkerContext:
    """Returns TFF's local C++ context, with a worker process that ends with the program.

    By itself TFF leaves its worker process running when Python exits. A process that waits for the
    end of the program's output then waits for ever.
    """
    if not _watchers:  # the first context of this program
        atexit.register(_end)
        _watch()
    context = WorkerContext()
    _contexts.add(context)
    return context


def _pass_on_no_ignored_signal() -> None:
    """Makes workers end on SIGINT, even if this program ignores it.

    nohup and shells that start a program in the background make it ignore SIGINT, and its children
    inherit that. TFF ends a worker by SIGINT and waits for it, then for ever. A handler that does
    nothing has the same effect here, but children do not inherit it.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda number, frame: None)


# An environment variable of this program's children, by which the watcher finds them.
_MARK = "TFF_NLP_WORKER_OF"
# Waits until its input ends. The input ends even if this program is killed.
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
    """Starts a shell that ends the workers if this program is killed and cannot do it itself."""
    mark = f"{os.getpid()}-{time.time_ns()}"
    os.environ[_MARK] = mark
    quiet = subprocess.DEVNULL
    _watchers.append(
        subprocess.Popen(
            ["/bin/sh", "-c", _WATCHER, "sh", f"{_MARK}={mark}"],
            stdin=subprocess.PIPE,
            stdout=quiet,
            stderr=quiet,
            # Ctrl-C in a terminal would otherwise end the watcher, too.
            start_new_session=True,
        )
    )


def _end() -> None:
    end_workers_that_ignore_sigint()
    # TFF's own clean-up must run now. Later, its modules are gone and it prints a stack trace.
    tff.framework.set_default_context(_Ended())
    for context in list(_contexts):
        context.close()
    end_workers()
    gc.collect()
    for watcher in _watchers:
        watcher.communicate()


class _Ended(tff.framework.SyncContext):
    """The default context of a program that is ending."""

    def invoke(self, comp: tff.framework.ConcreteComputation, arg: Any) -> Any:
        raise RuntimeError("the program is ending")


def end_workers(patience: float = 2.0) -> None:
    """Ends the worker processes that this process started.

    Args:
      patience: Seconds between SIGTERM and SIGKILL.
    """
    _end_each(_workers(), patience)


def end_workers_that_ignore_sigint(patience: float = 2.0) -> None:
    """Ends the worker processes for which TFF would wait for ever.

    TFF starts a worker of its own if a computation runs before a default context is set. If this
    program ignores SIGINT, this worker ignores it, too. TFF ends it by SIGINT when another default
    context is set.

    Args:
      patience: Seconds between SIGTERM and SIGKILL.
    """
    _end_each([pid for pid in _workers() if _ignores_sigint(pid)], patience)


def _end_each(pids: list[int], patience: float) -> None:
    for pid in pids:
        _signal(pid, signal.SIGTERM)
    deadline = time.monotonic() + patience
    while pids and time.monotonic() < deadline:
        time.sleep(0.02)
        pids = [pid for pid in pids if pid in _workers()]
    for pid in pids:
        _signal(pid, signal.SIGKILL)


def _workers() -> list[int]:
    """Returns the process ids of this program's running workers."""
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


def _ignores_sigint(pid: int) -> bool:
    """Returns whether a process ignores SIGINT."""
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False  # the process ended meanwhile
    ignored = int(status.partition("SigIgn:")[2].split()[0], 16)
    return bool(ignored >> (signal.SIGINT - 1) & 1)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
