"""Starts the workers of a service, replaces dead ones, switches models, and stops it.

The supervisor loads no model and answers no request. Signals: SIGTERM and SIGINT finish the running
requests and stop; a second one ends at once. SIGHUP reads the lists of models and keys again.
"""

import contextlib
import dataclasses
import os
import selectors
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from tff_nlp import errors
from tff_nlp.errors import RunError, UserError, verbatim
from tff_nlp.serving.service import control_channel, worker
from tff_nlp.serving.service.control_channel import Offer, SupervisorEnd
from tff_nlp.serving.service.rate_limits import WindowMemory
from tff_nlp.serving.service.service_metrics import ServiceMetrics

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
# Seconds before a dead worker is replaced: doubled with each one that died before it was ready.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
# So many workers in a row may die before they are ready, if no other one is.
_MOST_FAILURES = 5
# Seconds that workers may take to end after the time for their last requests.
_PATIENCE = 10.0

# Function that reads the models and the keys again. Raises UserError.
Reread = Callable[[], Offer]
Say = Callable[[str], None]


@dataclasses.dataclass
class _Worker:
    """A running worker.

    Attributes:
      number: Its number, from 0. The worker that replaces it has the same.
      pid: Process id.
      control: The supervisor's end of its channel.
      ready: Whether it serves.
      prepared: Whether it has loaded the models of a switch.
    """

    number: int
    pid: int
    control: SupervisorEnd
    ready: bool = False
    prepared: bool = False


class Supervisor:
    """Runs a service until a signal stops it."""

    def __init__(
        self,
        listener: socket.socket,
        memory: WindowMemory,
        settings: worker.WorkerSettings,
        workers: int,
        load: Callable[[], worker.Load],
        say: Say,
    ) -> None:
        """Takes what all workers share.

        Args:
          listener: Bound socket, which does not listen yet.
          memory: Memory of the rate limits.
          settings: Settings of the workers.
          workers: Number of workers.
          load: Function that returns the loader of models. It is called in the workers.
          say: Function that shows a line to the user, a marked text (`errors`).
        """
        self._listener = listener
        self._memory = memory
        self._settings = settings
        self._load = load
        self._say = say
        self._metrics = ServiceMetrics(workers)
        self._workers: dict[int, _Worker] = {}
        self._numbers = range(workers)
        self._restart_at: dict[int, float] = {}
        self._failures = 0
        self._began = False  # Whether all workers have been ready once.
        self._stop_until: float | None = None
        self._next: Offer | None = None
        self._turn = 0  # Number of the switch, so that late answers to an older one are ignored.
        self._reread_again = False
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()

    def run(self, offer: Offer, reread: Reread, began: Callable[[], None]) -> None:
        """Serves until SIGTERM or SIGINT.

        Args:
          offer: The models and keys.
          reread: Function that returns the models and keys after SIGHUP.
          began: Function that is called when all workers are ready.

        Raises:
          UserError: If a model cannot be loaded at the start.
          RunError: If workers die again and again, or a second signal ended them at once.
        """
        self._offer, self._reread, self._say_began = offer, reread, began
        with self._handling_signals():
            try:
                for number in self._numbers:
                    self._start(number)
                while not self._is_over():
                    self._step()
            finally:
                self._kill_all()

    def _is_over(self) -> bool:
        return self._stop_until is not None and not self._workers

    def _step(self) -> None:
        """Waits for something to happen, and reacts."""
        for key, _ in self._selector.select(self._seconds_to_wait()):
            if key.fileobj is self._woken:
                for number in self._woken.recv(4096):
                    self._on_signal(number)
            elif key.data in self._workers.values():
                for message in key.data.control.received():
                    self._on_message(key.data, message)
        self._reap()
        now = time.monotonic()
        if self._stop_until is not None:
            if now > self._stop_until:
                self._say("the last requests took too long; they are ended")
                self._kill_all()
            return
        if self._reread_again and self._may_switch():
            self._switch()
        if self._next is None:  # A worker that starts during a switch would miss it.
            for number in [n for n, due in self._restart_at.items() if due <= now]:
                self._start(number)

    def _seconds_to_wait(self) -> float | None:
        due = list(self._restart_at.values())
        if self._stop_until is not None:
            due = [self._stop_until]
        elif self._next is not None:
            due = []
        return max(0.0, min(due) - time.monotonic()) + 0.01 if due else None

    # Workers.

    def _start(self, number: int) -> None:
        """Forks a worker. The supervisor has no threads and no TensorFlow, so this is safe."""
        self._restart_at.pop(number, None)
        ours, theirs = control_channel.pair()
        inherited = worker.Inherited(
            self._listener,
            theirs,
            self._memory.descriptor,
            self._metrics.of_worker(number),
            alone=self._began and not any(one.ready for one in self._workers.values()),
        )
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        pid = os.fork()
        if not pid:
            ours.close()
            self._become_worker(inherited)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        theirs.close()
        started = _Worker(number, pid, SupervisorEnd(ours))
        self._workers[pid] = started
        self._selector.register(ours, selectors.EVENT_READ, started)

    def _become_worker(self, inherited: worker.Inherited) -> NoReturn:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            # Ctrl-C and a closed terminal reach all processes. The supervisor decides.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            for other in self._workers.values():
                other.control.close()
            code = worker.run(self._offer, self._settings, inherited, self._load())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def _reap(self) -> None:
        """Notices workers that have ended."""
        for one in list(self._workers.values()):
            pid, status = os.waitpid(one.pid, os.WNOHANG)
            if pid:
                self._on_message_rest(one)
                self._on_end(one, os.waitstatus_to_exitcode(status))

    def _on_message_rest(self, one: _Worker) -> None:
        """Reads what a worker sent before it ended."""
        one.control.socket.setblocking(False)
        for message in one.control.received():
            self._on_message(one, message)

    def _on_end(self, one: _Worker, code: int) -> None:
        del self._workers[one.pid]
        self._selector.unregister(one.control.socket)
        one.control.close()
        self._metrics.of_worker(one.number).ready(False)
        if self._stop_until is not None:
            return
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        if not self._began:
            raise RunError(f"a worker ended before it was ready ({how})")
        self._failures = 0 if one.ready else self._failures + 1
        some_ready = any(other.ready for other in self._workers.values())
        if self._failures >= _MOST_FAILURES and not some_ready:
            raise RunError(f"{self._failures} workers in a row ended before they were ready")
        pause = min(_FIRST_PAUSE * 2**self._failures, _LONGEST_PAUSE)
        self._restart_at[one.number] = time.monotonic() + pause
        self._say(f"worker {one.pid} ended ({how}); another one is started")
        self._end_switch()

    def _on_message(self, one: _Worker, message: dict[str, Any]) -> None:
        kind = message["kind"]
        if kind == control_channel.READY:
            one.ready = True
            self._failures = 0
            if not self._began and self._count_ready() == len(self._numbers):
                self._began = True
                self._say_began()
            elif self._began:
                self._say(f"worker {one.pid} is ready")
        elif kind == control_channel.FAILED:
            if not self._began:
                raise UserError(message["why"])
            self._say(f"worker {one.pid} could not start: {message['why']}")
        elif self._next is not None and message["turn"] == self._turn:
            if kind == control_channel.PREPARED:
                one.prepared = True
                self._end_switch()
            else:
                self._say(f"the models stay as they are: {message['why']}")
                self._abort()

    def _count_ready(self) -> int:
        return sum(one.ready for one in self._workers.values())

    def _kill_all(self) -> None:
        for one in self._workers.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)
        for one in list(self._workers.values()):
            os.waitpid(one.pid, 0)
            self._selector.unregister(one.control.socket)
            one.control.close()
        self._workers.clear()

    # Signals.

    @contextlib.contextmanager
    def _handling_signals(self) -> Iterator[None]:
        """Turns signals into bytes that `_step` reads."""
        for end in (self._woken, self._waker):
            end.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
        wakeup = signal.set_wakeup_fd(self._waker.fileno())
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            if self._stop_until is not None:
                raise RunError("ended at once by a second signal, with requests unanswered")
            self._say("stopping: the running requests are finished")
            # Otherwise clients could connect and wait when no worker is left.
            self._listener.close()
            self._stop_until = time.monotonic() + self._settings.stop_seconds + _PATIENCE
            self._restart_at.clear()
            for one in self._workers.values():
                self._stop_worker(one)
        elif number == signal.SIGHUP and self._stop_until is None:
            if self._may_switch():
                self._switch()
            else:
                self._reread_again = True

    def _stop_worker(self, one: _Worker) -> None:
        if one.ready:
            one.control.send(control_channel.STOP)
        else:  # It answers nothing yet, and loading cannot be interrupted in another way.
            with contextlib.suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)

    # Switching models.

    def _may_switch(self) -> bool:
        """Whether no worker is starting or switching, so that all of them take part in a switch.

        A dead worker is replaced after the switch. It may have died because of its models.
        """
        all_ready = all(one.ready for one in self._workers.values())
        return self._began and self._next is None and all_ready

    def _switch(self) -> None:
        """Asks all workers to load what the lists name now. They go on serving meanwhile."""
        self._reread_again = False
        try:
            self._next = self._reread()
        except UserError as error:
            self._say(f"the models stay as they are: {errors.message(error)}")
            return
        self._turn += 1
        offer = self._next.to_json()
        for one in self._workers.values():
            one.control.send(control_channel.PREPARE, offer=offer, turn=self._turn)
        self._end_switch()

    def _end_switch(self) -> None:
        """Uses the new models when all workers have loaded them, or if there is none now."""
        if self._next is None or not all(one.prepared for one in self._workers.values()):
            return
        for one in self._workers.values():
            one.prepared = False
            one.control.send(control_channel.COMMIT)
        self._offer, self._next = self._next, None
        models = ", ".join(verbatim(spec) for spec in self._offer.models)
        if self._workers:
            self._say(f"now serving {models}")
        else:
            self._say(f"no worker runs now; the next one loads {models}")

    def _abort(self) -> None:
        self._next = None
        for one in self._workers.values():
            one.prepared = False
            one.control.send(control_channel.ABORT)
