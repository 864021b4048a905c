"""A process that runs shares of cohorts for a program elsewhere.

`ShareActor` becomes a Ray actor in `ray_actors`; nothing here knows Ray. It does what the streaming
context does, on clients that come in pieces: `begin`, `run` for some clients of a lane (in order
per lane, lanes at the same time), `finish`.
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
    """What an actor says of itself when it has started.

    Attributes:
      pid: Of its process.
      host: The name of its machine.
      devices: One TensorFlow device per lane; none if it was to use a GPU and finds none.
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
    """A round, compiled and built."""

    form: forms.RoundForm
    summands: tuple[secure_sums.Summand, ...]
    lanes: list[lanes.Lane]


@dataclasses.dataclass
class _LaneState:
    """A lane's part of the share: its run and how many pieces it got."""

    run: lane_runs.LaneRun
    pieces: int = 0


class ShareActor:
    """Runs one share of a cohort at a time."""

    def __init__(self, *, num_lanes: int, threads: int, gpu: bool) -> None:
        """Sets TensorFlow up.

        Args:
          num_lanes: How many clients run at once.
          threads: How many operations run at once; see `streaming.configure_threads`.
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
        """Returns who this is."""
        return Hello(os.getpid(), socket.gethostname(), self._devices)

    def begin(self, token: int, key: int, packed: bytes | None, broadcast: Sequence[Any]) -> None:
        """Begins a share, and drops one that was not finished.

        Args:
          token: Names the share in the calls to come.
          key: Names the form.
          packed: The form, by `transport.pack_form`; None if it was given before.
          broadcast: What every client gets, as arrays.
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
            # How many clients may fail is for the program to say, which knows all shares.
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
          token: Of the share; a piece of another one is dropped.
          lane: Number of the lane.
          piece: Number of this piece among the lane's, from 0.
          clients: Position in the round and data of each, by `transport.to_arrays`.

        Returns:
          Position and reason of the clients that failed; they are left out.
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
        """Ends a share; returns nothing, and what it comes to.

        Two results, so that a program can wait for the end and leave the sums where they are.
        """
        if token != self._token or self._form is None:
            raise RuntimeError("the share to finish is not the one that began")
        runs = [state.run for state in self._states]
        sums = lane_runs.merge(runs, self._form.summands)
        self._token = None
        return None, to_arrays(sums, self._form.form)

    def forget(self, key: int) -> None:
        """Drops a form that is not used any more."""
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
    """Lets several processes share a GPU; TensorFlow otherwise takes all of its memory."""
    try:
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError:
        _log.warning("TensorFlow already runs; it keeps the GPU memory that it took")
