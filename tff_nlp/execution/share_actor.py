"""A process that runs shares of cohorts for another program.

`ray_actors` makes a Ray actor of `ShareActor`; this module itself does not use Ray. It runs clients
like the streaming context, but receives them in pieces. A program calls `begin`, then `run` with
some clients of a lane, then `finish`. Pieces of one lane run in order; different lanes run at the
same time.
"""

import dataclasses
import logging
import math
import os
import socket
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp.execution import (
    forms,
    lane_runs,
    lanes,
    secure_sums,
    streaming,
    structures,
    transport,
)

_log = logging.getLogger(__name__)

Client = tuple[int, list[Any]]


@dataclasses.dataclass(frozen=True)
class Hello:
    """What an actor reports when it has started.

    Attributes:
      pid: Process id of the actor.
      host: The name of its machine.
      devices: One TensorFlow device name per lane. Empty if the actor needs a GPU and finds none.
    """

    pid: int
    host: str
    devices: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class ArraySums:
    """`lane_runs.Sums` as arrays."""

    accumulator: list[Any]
    secure: list[np.ndarray]
    client_values: dict[int, list[list[Any]]]


@dataclasses.dataclass(frozen=True)
class _Form:
    """A compiled round with its lanes."""

    form: forms.RoundForm
    summands: tuple[secure_sums.Summand, ...]
    lanes: list[lanes.Lane]


@dataclasses.dataclass
class _LaneState:
    """The run of a lane, and the number of pieces that the lane received."""

    run: lane_runs.LaneRun
    pieces: int = 0


class ShareActor:
    """Runs one share of a cohort at a time."""

    def __init__(self, *, num_lanes: int, threads: int, gpu: bool) -> None:
        """Configures TensorFlow.

        Args:
          num_lanes: Number of clients that run at the same time.
          threads: Number of operations that run at the same time, as in
            `streaming.configure_threads`.
          gpu: Whether the lanes are on this process's first GPU.
        """
        streaming.configure_threads(threads)
        if gpu:
            let_gpu_memory_grow()
            gpus = tf.config.list_logical_devices("GPU")
            self._devices = (gpus[0].name,) * num_lanes if gpus else ()
        else:
            tf.config.set_visible_devices([], "GPU")
            self._devices = ("/CPU:0",) * num_lanes
        self._forms: dict[int, _Form] = {}
        self._token: int | None = None
        self._locks = [threading.Lock() for _ in range(num_lanes)]
        self._progress = lane_runs.Progress(0)
        self._states: list[_LaneState] = []
        self._form: _Form | None = None

    def hello(self) -> Hello:
        """Returns the process, machine and devices of this actor."""
        return Hello(os.getpid(), socket.gethostname(), self._devices)

    def begin(self, token: int, key: int, packed: bytes | None, broadcast: Sequence[Any]) -> None:
        """Begins a share. An unfinished earlier share is dropped.

        Args:
          token: Unique number of the share, for the later calls.
          key: Key of the form.
          packed: The form as bytes from `transport.pack_form`. None if the actor already has it.
          broadcast: The values that the server sends to every client, as arrays.
        """
        self.stop()
        if packed is not None:
            form, summands = transport.unpack_form(packed)
            built = lanes.build_lanes(form, summands, self._devices)
            self._forms[key] = _Form(form, summands, built)
        self._form = self._forms[key]
        types = structures.flatten_types(self._form.form.prepare.result_type)
        tensors = transport.to_tensors(broadcast, types)
        for lock in self._locks:
            lock.acquire()  # A stopped lane may still be in the middle of its client.
        try:
            # The program limits the number of failed clients, because it knows all shares.
            self._progress = lane_runs.Progress(math.inf)
            self._states = [
                _LaneState(lane_runs.LaneRun(lane, self._form.summands, tensors, self._progress))
                for lane in self._form.lanes
            ]
            self._token = token
        finally:
            for lock in self._locks:
                lock.release()

    def run(
        self, token: int, lane: int, piece: int, clients: Sequence[Client]
    ) -> list[tuple[int, str]]:
        """Runs some clients on a lane.

        Args:
          token: Number of the share. A piece of another share is dropped.
          lane: Number of the lane.
          piece: Number of this piece on its lane, from 0.
          clients: Position in the round and data of each client, from `transport.to_arrays`.

        Returns:
          Position and error message of each failed client. Failed clients are left out of the sums.

        Raises:
          RuntimeError: If the pieces of a lane do not arrive in order.
        """
        with self._locks[lane]:
            if token != self._token or self._form is None:
                return []
            state = self._states[lane]
            if piece != state.pieces:
                raise RuntimeError(f"piece {piece} came when {state.pieces} was expected")
            state.pieces += 1
            types = list(structures.flatten_types(self._form.form.data_type))
            state.run.clients((p, transport.to_tensors(values, types)) for p, values in clients)
            own = {position for position, _ in clients}
            failures = list(self._progress.failures)
            return [(f.position, f.reason) for f in failures if f.position in own]

    def stop(self) -> None:
        """Stops the share in the middle of its clients."""
        self._token = None
        self._progress.stop()

    def finish(self, token: int) -> tuple[None, ArraySums]:
        """Ends a share and returns its sums.

        Returns:
          None and the sums. These are two results, so that a program can wait for the first one and
          leave the sums on the actor's machine.

        Raises:
          RuntimeError: If `token` is not the number of the current share.
        """
        if token != self._token or self._form is None:
            raise RuntimeError("the share to finish is not the one that began")
        runs = [state.run for state in self._states]
        sums = lane_runs.merge(runs, self._form.summands)
        self._token = None
        return None, to_arrays(sums, self._form.form)

    def forget(self, key: int) -> None:
        """Deletes a form that is no longer used."""
        self._forms.pop(key, None)


def to_arrays(sums: lane_runs.Sums, form: forms.RoundForm) -> ArraySums:
    """Returns sums as arrays, so that they can be sent."""
    return ArraySums(
        transport.to_arrays(sums.accumulator, structures.flatten_types(form.accumulator_type)),
        [tensor.numpy() for tensor in sums.secure],
        {
            position: [
                transport.to_arrays(tensors, types)
                for tensors, types in zip(values, form.client_value_types, strict=True)
            ]
            for position, values in sums.client_values.items()
        },
    )


def to_tensors(sums: ArraySums, form: forms.RoundForm) -> lane_runs.Sums:
    """Reverses `to_arrays`."""
    return lane_runs.Sums(
        transport.to_tensors(sums.accumulator, structures.flatten_types(form.accumulator_type)),
        [tf.convert_to_tensor(array) for array in sums.secure],
        {
            position: [
                transport.to_tensors(arrays, types)
                for arrays, types in zip(values, form.client_value_types, strict=True)
            ]
            for position, values in sums.client_values.items()
        },
    )


def let_gpu_memory_grow() -> None:
    """Lets several processes share a GPU. TensorFlow would otherwise take all of its memory."""
    try:
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError:
        _log.warning("TensorFlow has already started; it keeps the GPU memory that it took")
