"""An execution context that streams the clients of a round through this process.

TFF's own runtime serializes every client to a separate C++ process. Here the pieces of TFF's
MapReduce form run as TensorFlow functions in the Python process; each client's update is added to
an accumulator as soon as it is there, so that memory does not grow with the cohort, and state and
weights stay where they are from round to round.
"""

import concurrent.futures
import contextlib
import dataclasses
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff
from tensorflow.python.eager import cancellation

from tff_nlp import errors
from tff_nlp.execution import forms, graphs, lanes, secure_sums, structures, worker

_log = logging.getLogger(__name__)


class ClientError(errors.RunError):
    """A client's part of a round failed.

    Attributes:
      position: Of the client in the round's list of data sets.
    """

    def __init__(self, position: int, cause: BaseException) -> None:
        super().__init__(f"client {position} of the round failed: {_reason(cause)}")
        self.position = position


def _reason(error: BaseException) -> str:
    """Returns what an error says, without where in TensorFlow's graphs it was."""
    if not isinstance(error, tf.errors.OpError):
        return str(error)
    lines = (line.split("[[{{node")[0].strip() for line in error.message.splitlines())
    noise = ("", "Graph execution error:", "<stack traces unavailable>")
    kept = [line for line in lines if line not in noise and not line.startswith("Detected at ")]
    return kept[0] if kept else type(error).__name__


def configure_threads() -> None:
    """Sets TensorFlow to one thread per operation, as many operations at once as cores.

    Clients then run side by side, a core each, which is faster than one client on all cores, and
    the order of additions inside an operation does not depend on the machine. Call it before
    TensorFlow runs anything; afterwards it does nothing but log a warning.
    """
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(_cores())
    except RuntimeError:
        _log.warning("TensorFlow already runs; its threads stay as they are")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_devices() -> tuple[str, ...]:
    """Returns one entry per lane: every GPU, or the CPU once per core."""
    gpus = tf.config.list_logical_devices("GPU")
    if gpus:
        return tuple(device.name for device in gpus)
    return ("/CPU:0",) * _cores()


class StreamingContext(tff.framework.SyncContext):
    """Runs TFF computations in this process, the clients of a round in a stream.

    The sums over a cohort depend on the number of lanes, as float addition is not associative, and
    on nothing else: the same devices give the same bits.

    Attributes:
      devices: One entry per lane, that is, per client in flight.
      max_failed_clients: How many clients of a round may fail.
      failed_clients: Positions of the clients that failed in the last round and were left out.
      pool: The threads of the lanes.
    """

    def __init__(
        self, devices: Sequence[str] | None = None, *, max_failed_clients: int = 0
    ) -> None:
        """Initializes the context.

        Args:
          devices: TensorFlow device names, one per lane; by default every GPU or one lane per core.
          max_failed_clients: How many clients of a round may raise before the round does; the
            round goes on without them, as without a device that dropped out.
        """
        if max_failed_clients < 0:
            raise errors.UserError(f"--max_failed_clients={max_failed_clients}: must be 0 or more")
        self.devices = tuple(devices) if devices else default_devices()
        self.failed_clients: tuple[int, ...] = ()
        self.max_failed_clients = max_failed_clients
        self.pool = concurrent.futures.ThreadPoolExecutor(len(self.devices), "lane")
        self._programs: dict[int, tuple[Any, Callable[[Any], Any]]] = {}
        self._worker: tff.framework.SyncContext | None = None

    def invoke(self, comp: tff.framework.ConcreteComputation, arg: Any) -> Any:
        """Runs a computation; called by TFF."""
        return self._program(comp)(arg)

    def form(self, comp: tff.framework.ConcreteComputation) -> forms.RoundForm | None:
        """Returns a computation as it is compiled here, or None if it is not a round.

        It is compiled once, for this and for running it.
        """
        program = self._program(comp)
        return program.form if isinstance(program, _Round) else None

    def _program(self, comp: tff.framework.ConcreteComputation) -> Callable[[Any], Any]:
        if id(comp) not in self._programs:
            # The computation is kept, so that no other one can get its id.
            self._programs[id(comp)] = (comp, self._compile(comp))
        return self._programs[id(comp)][1]

    def _compile(self, comp: tff.framework.ConcreteComputation) -> Callable[[Any], Any]:
        if graphs.is_tensorflow(comp):
            return _local_program(graphs.from_computation(comp), comp.type_signature.result)
        try:
            if comp.type_signature.parameter is None:
                graph = forms.compile_initialization(comp)
                return _local_program(graph, comp.type_signature.result)
            form = forms.compile_round(comp)
        except forms.NoFormError as error:
            _log.info("not a single round, so TFF's own worker runs it (%s)", error)
            return lambda arg: self._run_in_worker(comp, arg)
        return _Round(self, form, comp.type_signature.parameter)

    def note_failures(self, failures: Sequence[ClientError]) -> None:
        """Reports the clients of a round that failed.

        Raises:
          ClientError: If they are more than allowed; the first of them.
        """
        ordered = sorted(failures, key=lambda f: f.position)
        self.failed_clients = tuple(f.position for f in ordered)
        if len(ordered) > self.max_failed_clients:
            raise ordered[0]
        for failure in ordered:
            _log.warning("%s; the round goes on without it", failure)

    def _run_in_worker(self, comp: tff.framework.ConcreteComputation, arg: Any) -> Any:
        if self._worker is None:
            self._worker = worker.worker_context()
        return self._worker.invoke(comp, arg)


def _local_program(graph: graphs.Graph, result_type: tff.Type) -> Callable[[Any], Any]:
    run = graphs.wrap(graph)
    parameter_type = graph.parameter_type

    def program(arg: Any) -> Any:
        return structures.pack(iter(run(structures.flatten(arg, parameter_type))), result_type)

    return program


class _Round:
    """A compiled round.

    Attributes:
      form: Its pieces.
    """

    def __init__(
        self, context: StreamingContext, form: forms.RoundForm, parameter: tff.Type
    ) -> None:
        self.form = form
        self._context = context
        self._parameter = parameter
        self._prepare = graphs.wrap(form.prepare)
        self._report = graphs.wrap(form.report)
        self._update = graphs.wrap(form.update)
        self._summands = secure_sums.summands_of(form)
        self._lanes: list[lanes.Lane] = []

    def __call__(self, arg: Any) -> Any:
        """Runs the round."""
        server, clients = forms.split_argument(arg, self._parameter)
        if not isinstance(clients, (list, tuple)):
            raise TypeError(f"expected a list with one value per client, found {type(clients)}")
        state = structures.flatten(server, self.form.state_type)
        data = [_flatten_client(p, c, self.form.data_type) for p, c in enumerate(clients)]
        shares = _share([_cost(client) for client in clients], len(self._context.devices))
        aggregate, secure = self._stream(data, shares, self._prepare(state))
        outputs = iter(self._update([*state, *aggregate, *secure]))
        if not self.form.returns_state:
            for _ in state:
                next(outputs)
        return structures.pack(outputs, self.form.result_type)

    def _stream(
        self,
        data: Sequence[list[tf.Tensor]],
        shares: Sequence[Sequence[int]],
        broadcast: list[tf.Tensor],
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Returns the aggregate and the secure sums."""
        if not self._lanes:
            self._lanes = lanes.build_lanes(self.form, self._summands, self._context.devices)
        progress = _Progress(self._context.max_failed_clients)
        runs = [_LaneRun(lane, self._summands, progress) for lane in self._lanes]
        futures = [
            self._context.pool.submit(run.clients, [(p, data[p]) for p in share], broadcast)
            for run, share in zip(runs, shares, strict=True)
        ]
        try:
            concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_EXCEPTION)
        finally:
            # When all went well there is nothing left to stop.
            progress.stop()
            concurrent.futures.wait(futures)
        for future in futures:
            future.result()
        self._context.note_failures(progress.failures)
        first, *others = runs
        for other in others:
            first.lane.merge(other.lane)
            first.secure = secure_sums.add(self._summands, first.secure, other.secure)
        return self._report(first.lane.values()), first.secure


class _Progress:
    """What the lanes of a round share: who failed, and whether to stop.

    Attributes:
      failures: The clients that failed so far.
      stopped: Whether no other client shall start.
    """

    def __init__(self, max_failed: int) -> None:
        self.failures: list[ClientError] = []
        self.stopped = False
        self._max_failed = max_failed
        self._lock = threading.Lock()
        self._running: set[cancellation.CancellationManager] = set()

    def fail(self, failure: ClientError) -> None:
        """Notes a failed client; one more than allowed stops every lane."""
        if self.stopped:
            return  # it failed because it was stopped
        self.failures.append(failure)
        if len(self.failures) > self._max_failed:
            self.stop()

    def stop(self) -> None:
        """Stops every lane, in the middle of its client."""
        with self._lock:
            self.stopped = True
            for manager in self._running:
                manager.start_cancel()

    @contextlib.contextmanager
    def client(self) -> Iterator[cancellation.CancellationManager]:
        """The context of one client; gives what stops it when the round stops."""
        # One per client: TensorFlow cancels the manager of a function that fails.
        manager = cancellation.CancellationManager()
        with self._lock:
            self._running.add(manager)
            if self.stopped:
                manager.start_cancel()
        try:
            yield manager
        finally:
            with self._lock:
                self._running.discard(manager)


@dataclasses.dataclass
class _LaneRun:
    """What one lane does in one round."""

    lane: lanes.Lane
    summands: Sequence[secure_sums.Summand]
    progress: _Progress

    def clients(
        self, data: Sequence[tuple[int, list[tf.Tensor]]], broadcast: list[tf.Tensor]
    ) -> None:
        self.lane.reset()
        self.secure = secure_sums.zero(self.summands)
        for position, tensors in data:
            if self.progress.stopped:
                return
            try:
                with self.progress.client() as stop:
                    inputs = self.lane.run(tensors, broadcast, stop)
            except tf.errors.OpError as error:
                failure = ClientError(position, error)
                failure.__cause__ = error
                self.progress.fail(failure)
            else:
                self.secure = secure_sums.add(self.summands, self.secure, inputs)


def _flatten_client(position: int, client: Any, data_type: tff.Type) -> list[tf.Tensor]:
    try:
        return structures.flatten(client, data_type)
    except TypeError as error:
        raise TypeError(f"client {position}: {error}") from error


def _cost(client: Any) -> int:
    """Returns the number of batches of a client where it is known, for sharing out the work."""
    total = 0
    for dataset in tf.nest.flatten(client):
        if isinstance(dataset, tf.data.Dataset):
            total += max(int(dataset.cardinality()), 1)
    return max(total, 1)


def _share(costs: Sequence[int], count: int) -> list[list[int]]:
    """Deals positions to lanes, the longest first to the lane with the least, ties in order.

    It depends on the costs alone and not on which lane happens to be free, so that the same round
    adds the same floats in the same order.
    """
    loads = [0] * count
    shares: list[list[int]] = [[] for _ in range(count)]
    for position in sorted(range(len(costs)), key=lambda p: -costs[p]):
        lane = loads.index(min(loads))
        loads[lane] += costs[position]
        shares[lane].append(position)
    return [sorted(share) for share in shares]
