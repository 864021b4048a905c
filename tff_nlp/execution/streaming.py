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
from collections.abc import Callable, Sequence
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
        super().__init__(f"client {position} of the round failed: {cause}")
        self.position = position


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
      failed_clients: Positions of the clients that failed in the last round and were left out.
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
        self._max_failed_clients = max_failed_clients
        self._pool = concurrent.futures.ThreadPoolExecutor(len(self.devices), "lane")
        self._programs: dict[int, tuple[Any, Callable[[Any], Any]]] = {}
        self._worker: tff.framework.SyncContext | None = None

    def invoke(self, comp: tff.framework.ConcreteComputation, arg: Any) -> Any:
        """Runs a computation; called by TFF."""
        if id(comp) not in self._programs:
            # The computation is kept, so that no other one can get its id.
            self._programs[id(comp)] = (comp, self._compile(comp))
        return self._programs[id(comp)][1](arg)

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
        program = _RoundProgram(form, comp.type_signature.parameter, self.devices)
        return lambda arg: self._run_round(program, arg)

    def _run_round(self, program: "_RoundProgram", arg: Any) -> Any:
        self.failed_clients = ()
        result, failures = program.run(arg, self._pool, self._max_failed_clients)
        self.failed_clients = tuple(sorted(f.position for f in failures))
        for failure in failures:
            _log.warning("%s; the round goes on without it", failure)
        return result

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


@dataclasses.dataclass
class _RoundProgram:
    """A compiled round."""

    form: forms.RoundForm
    parameter: tff.Type
    devices: tuple[str, ...]

    def __post_init__(self) -> None:
        form = self.form
        self._prepare = graphs.wrap(form.prepare)
        self._report = graphs.wrap(form.report)
        self._update = graphs.wrap(form.update)
        self._summands = secure_sums.summands_of(form)
        self._lanes: list[lanes.Lane] = []

    def run(
        self, arg: Any, pool: concurrent.futures.Executor, max_failed: int
    ) -> tuple[Any, list[ClientError]]:
        """Runs the round; returns its result and the clients that failed."""
        server, clients = forms.split_argument(arg, self.parameter)
        if not isinstance(clients, (list, tuple)):
            raise TypeError(f"expected a list with one value per client, found {type(clients)}")
        state = structures.flatten(server, self.form.state_type)
        data = [_flatten_client(p, c, self.form.data_type) for p, c in enumerate(clients)]
        shares = _share([_cost(client) for client in clients], len(self.devices))
        broadcast = self._prepare(state)
        aggregate, secure, failures = self._stream(data, shares, broadcast, pool, max_failed)
        outputs = iter(self._update([*state, *aggregate, *secure]))
        if self.form.returns_state:
            return structures.pack(outputs, self.form.result_type), failures
        for _ in state:
            next(outputs)
        return structures.pack(outputs, self.form.result_type), failures

    def _stream(
        self,
        data: Sequence[list[tf.Tensor]],
        shares: Sequence[Sequence[int]],
        broadcast: list[tf.Tensor],
        pool: concurrent.futures.Executor,
        max_failed: int,
    ) -> tuple[list[tf.Tensor], list[tf.Tensor], list[ClientError]]:
        if not self._lanes:
            self._lanes = lanes.build_lanes(self.form, self._summands, self.devices)
        progress = _Progress(max_failed)
        runs = [_LaneRun(lane, self._summands, progress) for lane in self._lanes]
        futures = [
            pool.submit(run.clients, [(p, data[p]) for p in share], broadcast)
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
        failures = sorted(progress.failures, key=lambda f: f.position)
        if len(failures) > max_failed:
            raise failures[0]
        first, *others = runs
        for other in others:
            first.lane.merge(other.lane)
            first.secure = secure_sums.add(self._summands, first.secure, other.secure)
        return self._report(first.lane.values()), first.secure, failures


class _Progress:
    """What the lanes of a round share: who failed, and whether to stop.

    Attributes:
      failures: The clients that failed so far.
    """

    def __init__(self, max_failed: int) -> None:
        self.failures: list[ClientError] = []
        self._max_failed = max_failed
        self._cancellation = cancellation.CancellationManager()

    @property
    def stopped(self) -> bool:
        return self._cancellation.is_cancelled

    def fail(self, failure: ClientError) -> None:
        """Notes a failed client; one more than allowed stops every lane."""
        if self.stopped:
            return  # it failed because it was stopped
        self.failures.append(failure)
        if len(self.failures) > self._max_failed:
            self.stop()

    def stop(self) -> None:
        """Stops every lane, in the middle of its client."""
        self._cancellation.start_cancel()

    def stoppable(self) -> contextlib.AbstractContextManager[None]:
        """Returns the context in which TensorFlow functions stop when the round does."""
        return cancellation.CancellationManagerContext(self._cancellation)


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
        with self.progress.stoppable():
            for position, tensors in data:
                if self.progress.stopped:
                    return
                try:
                    inputs = self.lane.run(tensors, broadcast)
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
