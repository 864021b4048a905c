"""An execution context that streams the clients of a round through this process.

TFF's own runtime sends every client to a separate C++ process. Here the pieces of TFF's MapReduce
form run as TensorFlow functions in the Python process. Each client's update is added to an
accumulator as soon as it is ready, so memory does not grow with the cohort. State and weights stay
in this process from round to round.
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
    """Sets TensorFlow to one thread per operation, and sets the number of parallel operations.

    Clients then run in parallel on one core each, which is faster than one client on all cores. The
    order of additions inside an operation also does not depend on the machine. Call this function
    before TensorFlow runs anything; later calls have no effect.

    Args:
      operations: Number of operations that run at the same time. The default is the number of
        cores.
      warn: Whether to log a warning if the call comes too late.
    """
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(operations or cores())
    except RuntimeError:
        if warn:
            _log.warning("TensorFlow has already started; its threads stay as they are")


def cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_devices() -> tuple[str, ...]:
    """Returns one device name per lane: every GPU, or without GPUs the CPU once per core."""
    gpus = tf.config.list_logical_devices("GPU")
    if gpus:
        return tuple(device.name for device in gpus)
    return ("/CPU:0",) * cores()


class StreamingContext(form_context.FormContext):
    """Runs TFF computations in this process, and the clients of a round in a stream.

    Float addition is not associative, so the sums over a cohort depend on the number of lanes. They
    depend on nothing else: the same devices give the same bits.

    Attributes:
      devices: One device name per lane. Each lane runs one client at a time.
      pool: The threads of the lanes.
      protocols: Protocol that computes secure sums. None adds the values in the clear.
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
          devices: TensorFlow device names, one per lane. The default is `default_devices`.
          max_failed_clients: How many clients of a round may fail before the round itself fails.
            The round goes on without them, as without a device that dropped out.
          protocols: Protocol that computes secure sums. None adds the values in the clear.

        Raises:
          UserError: If `max_failed_clients` is negative.
        """
        super().__init__(max_failed_clients=max_failed_clients)
        self.devices = tuple(devices) if devices else default_devices()
        self.protocols = protocols
        self.pool = concurrent.futures.ThreadPoolExecutor(len(self.devices), "lane")

    def cohort(
        self, form: forms.RoundForm, summands: Sequence[secure_sums.Summand]
    ) -> form_context.Cohort:
        """Returns the object that runs the clients of a form."""
        return _LaneCohort(self, form, summands)

    def map_clients(self, function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
        """Runs a function for each client, as many clients at a time as there are lanes."""
        return list(self.pool.map(function, arguments))

    @property
    def secure_protocols(self) -> secure_sums.Protocols | None:
        """The protocol that computes secure sums. None adds the values in the clear."""
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
            # If no client failed, nothing is left to stop.
            progress.stop()
            concurrent.futures.wait(futures)
        for future in futures:
            future.result()
        context.note_failures(progress.failures)
        sums = lane_runs.merge(runs, summands)
        return sums if hidden is None else dataclasses.replace(sums, secure=hidden.finish())
