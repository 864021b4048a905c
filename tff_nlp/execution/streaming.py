"""An execution context that streams the clients of a round through this process.

TFF's own runtime serializes every client to a separate C++ process. Here the pieces of TFF's
MapReduce form run as TensorFlow functions in the Python process; each client's update is added to
an accumulator as soon as it is there, so that memory does not grow with the cohort, and state and
weights stay where they are from round to round.
"""

import concurrent.futures
import dataclasses
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tff_nlp.execution import form_context, forms, lane_runs, lanes, secure_sums

_log = logging.getLogger(__name__)


def configure_threads(operations: int | None = None, *, warn: bool = True) -> None:
    """Sets TensorFlow to one thread per operation and so many operations at once.

    Clients then run side by side, a core each, which is faster than one client on all cores, and
    the order of additions inside an operation does not depend on the machine. Call it before
    TensorFlow runs anything; afterwards it changes nothing.

    Args:
      operations: How many operations run at once; by default as many as there are cores.
      warn: Whether to log a warning where it comes too late.
    """
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(operations or cores())
    except RuntimeError:
        if warn:
            _log.warning("TensorFlow already runs; its threads stay as they are")


def cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_devices() -> tuple[str, ...]:
    """Returns one entry per lane: every GPU, or the CPU once per core."""
    gpus = tf.config.list_logical_devices("GPU")
    if gpus:
        return tuple(device.name for device in gpus)
    return ("/CPU:0",) * cores()


class StreamingContext(form_context.FormContext):
    """Runs TFF computations in this process, the clients of a round in a stream.

    The sums over a cohort depend on the number of lanes, as float addition is not associative, and
    on nothing else: the same devices give the same bits.

    Attributes:
      devices: One entry per lane, that is, per client in flight.
      pool: The threads of the lanes.
      protocols: Adds up secure sums; None for in the clear.
    """

    def __init__(
        self,
        devices: Sequence[str] | None = None,
        *,
        max_failed_clients: int = 0,
        protocols: secure_sums.Protocols | None = None,
    ) -> None:
        """Initializes the context.

        Args:
          devices: TensorFlow device names, one per lane; by default every GPU or one lane per core.
          max_failed_clients: How many clients of a round may raise before the round does; the
            round goes on without them, as without a device that dropped out.
          protocols: Adds up secure sums; by default they are added in the clear.
        """
        super().__init__(max_failed_clients=max_failed_clients)
        self.devices = tuple(devices) if devices else default_devices()
        self.protocols = protocols
        self.pool = concurrent.futures.ThreadPoolExecutor(len(self.devices), "lane")

    def cohort(
        self, form: forms.RoundForm, summands: Sequence[secure_sums.Summand]
    ) -> form_context.Cohort:
        """Returns what runs the clients of a form."""
        return _LaneCohort(self, form, summands)

    def map_clients(self, function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
        """Runs a function for each client, as many clients at a time as there are lanes."""
        return list(self.pool.map(function, arguments))

    @property
    def secure_protocols(self) -> secure_sums.Protocols | None:
        """What adds up secure sums; None for in the clear."""
        return self.protocols


class _LaneCohort:
    """Runs the clients of a form on lanes.

    Attributes:
      lanes: The lanes, built when the first round runs.
    """

    def __init__(
        self,
        context: StreamingContext,
        form: forms.RoundForm,
        summands: Sequence[secure_sums.Summand],
    ) -> None:
        self.lanes: list[lanes.Lane] = []
        self._context = context
        self._form = form
        self._summands = summands
        self._in_order = not lanes.adds_only(form)

    def __call__(
        self, data: Sequence[list[tf.Tensor]], costs: Sequence[int], broadcast: list[tf.Tensor]
    ) -> lane_runs.Sums:
        """Runs the clients of a round."""
        context, summands = self._context, self._summands
        if not self.lanes:
            self.lanes = lanes.build_lanes(self._form, summands, context.devices)
        progress = lane_runs.Progress(context.max_failed_clients)
        hidden = None
        if context.protocols is not None and summands:
            hidden = secure_sums.HiddenSums(summands, range(len(data)), context.protocols)
        runs = [
            lane_runs.LaneRun(lane, summands, broadcast, progress, hidden) for lane in self.lanes
        ]
        futures = [
            context.pool.submit(run.clients, [(p, data[p]) for p in share])
            for run, share in zip(
                runs, lane_runs.share(costs, len(runs), in_order=self._in_order), strict=True
            )
        ]
        try:
            concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_EXCEPTION)
        finally:
            # When all went well there is nothing left to stop.
            progress.stop()
            concurrent.futures.wait(futures)
        for future in futures:
            future.result()
        context.note_failures(progress.failures)
        sums = lane_runs.merge(runs, summands)
        return sums if hidden is None else dataclasses.replace(sums, secure=hidden.finish())
