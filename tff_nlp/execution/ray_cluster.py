"""Connects to Ray or starts it, and divides its machines among actors.

Ray executes any code that its clients send. So a cluster that is started here listens only on the
local address 127.0.0.1, requires a secret token, and keeps its files in a folder that only this
user can read.
"""

import atexit
import contextlib
import dataclasses
import json
import logging
import math
import os
import pathlib
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
import types
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import grpc
import ray
import ray.exceptions
import tensorflow as tf
from ray._private import services
from ray._private.authentication import grpc_authentication_client_interceptor as grpc_token

from tff_nlp import errors
from tff_nlp.execution import streaming

_CONNECT_SECONDS = 10.0
# The smallest request that Ray's head answers.
_CHECK_ALIVE = "/ray.rpc.NodeInfoGcsService/CheckAlive"

_THIS_MACHINE = "127.0.0.1"
_TOKEN_BYTES = 32
# The path of a socket has at most 107 bytes. Ray's names and ours take 79 of them.
_LONGEST_BASE = 28
# The folders of clusters that this program started. They are removed when it ends.
_folders: list[pathlib.Path] = []

_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}

# The first setting turns usage reports off. The second one turns off Ray's warning that it will
# change how it hides GPUs; actors on the CPU do not depend on that. The third one keeps Ray's
# autoscaler, which has nothing to do here, from showing its counters at a port without a token:
# no server can have this port.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "AUTOSCALER_METRIC_PORT": "-1",
}


@dataclasses.dataclass(frozen=True)
class Machine:
    """The resources of a machine of the cluster.

    Attributes:
      cpus: Number of cores.
      gpus: Number of GPUs.
    """

    cpus: int
    gpus: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """How the cluster is divided. The sums of a round depend on `actors` and `lanes`.

    Attributes:
      actors: Number of actors.
      lanes: Number of clients that each actor runs at the same time.
      cpus: Cores that Ray reserves for each actor.
      gpus: GPUs, or the fraction of a GPU, that Ray reserves for each actor. 0 for actors on the
        CPU.
    """

    actors: int
    lanes: int
    cpus: int
    gpus: float

    @property
    def devices(self) -> tuple[str, ...]:
        """One name per lane, with its actor and its kind of device."""
        kind = "GPU" if self.gpus else "CPU"
        return tuple(f"ray:{i}/{kind}:0" for i in range(self.actors) for _ in range(self.lanes))


def connect(address: str, *, object_store_bytes: int | None = None) -> bool:
    """Connects to Ray, unless the program is connected already.

    Args:
      address: "host:port" of a cluster that this machine belongs to, or "auto" for the cluster that
        runs on this machine. Empty starts a cluster for this program, on this machine only.
      object_store_bytes: Size in bytes of the object store of a cluster that is started here. The
        default is Ray's own, 30 % of the memory.

    Returns:
      Whether this call connected to Ray. If so, the caller must disconnect.

    Raises:
      UserError: If there is no cluster at the address, it refuses the connection, the program is
        connected to another cluster, or the path of the temporary folder is too long.
    """
    if address.startswith("ray://"):
        raise errors.UserError(
            f"{errors.setting('ray_address', address)}: Ray Client is not supported; run the "
            "program on a machine of the cluster, with `ray_address`=auto"
        )
    if ray.is_initialized():
        _check_connected_to(address)
        return False
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with _own_end():
        if address:
            _join(address)
        else:
            _ask_for_a_token()
            ray.init(
                address="local",
                _node_ip_address=_THIS_MACHINE,
                _temp_dir=str(_new_folder()),
                num_cpus=streaming.cores(),
                num_gpus=len(tf.config.list_physical_devices("GPU")),
                include_dashboard=False,
                object_store_memory=object_store_bytes,
                **_QUIET,
            )
    return True


def _ask_for_a_token() -> None:
    """Makes the cluster that is started next refuse clients without this program's token.

    A mode or token that the user has set stays as it is.
    """
    if "RAY_AUTH_MODE" in os.environ:
        return
    os.environ["RAY_AUTH_MODE"] = "token"
    if not os.environ.keys() & {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(_TOKEN_BYTES)
    # Ray's processes read the environment when they start. This process read it when it imported
    # Ray, so it needs this call.
    ray._config.initialize(json.dumps({"AUTH_MODE": "token"}))


def _new_folder() -> pathlib.Path:
    """Makes a folder for a cluster's files, inside a folder that only this user can enter.

    This is needed because Ray makes its folder writable for everybody.

    Raises:
      UserError: If the path of the folder for temporary files is too long.
    """
    base = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    if len(os.fsencode(base)) > _LONGEST_BASE:
        raise errors.UserError(
            f"RAY_TMPDIR={base}: too long for the paths of Ray's sockets; it may have at most"
            f" {_LONGEST_BASE} characters"
        )
    _folders.append(pathlib.Path(tempfile.mkdtemp(prefix="ray-", dir=base)))
    return _folders[-1] / "r"


@atexit.register
def _remove_folders() -> None:
    """Removes the folders.

    Exit handlers run in reverse order, so this runs after `ray_context` has closed its contexts.
    """
    if _folders and ray.is_initialized():
        ray.shutdown()
    for folder in _folders:
        shutil.rmtree(folder, ignore_errors=True)


def _join(address: str) -> None:
    try:
        if address == "auto":
            address = services.canonicalize_bootstrap_address_or_die(address)
        _check_reachable(address)
        _check_token(address)
        ray.init(address=address, **_QUIET)
    except (OSError, RuntimeError, ValueError, ray.exceptions.AuthenticationError) as error:
        why = str(error).splitlines()[0] if str(error) else "nothing answers there"
        raise errors.UserError(
            f"{errors.setting('ray_address', address)}: cannot connect to Ray "
            f"({errors.verbatim(why)}); start it with ray start --head, and join this machine with "
            "ray start --address"
        ) from error


@contextlib.contextmanager
def _own_end() -> Iterator[None]:
    """Keeps this program's SIGTERM handler. Ray's handler would end it with a crash report."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before if callable(before) else _end)


def _end(number: int, _: types.FrameType | None) -> NoReturn:
    # Unlike the default action, this also runs the exit handlers, which end child processes.
    sys.exit(128 + number)


def _check_reachable(address: str) -> None:
    """Raises an OSError or ValueError if nothing listens there. Ray would try for minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        raise ValueError("expected host:port or auto")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS):
        pass


def _check_token(address: str) -> None:
    """Raises a ValueError if the cluster requires another token. Ray would try for minutes."""
    with_token = grpc_token.SyncAuthenticationMetadataClientInterceptor()
    with grpc.insecure_channel(address) as channel:
        ask = grpc.intercept_channel(channel, with_token).unary_unary(_CHECK_ALIVE)
        try:
            ask(b"", timeout=_CONNECT_SECONDS)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                raise ValueError(
                    "it requires another token: see RAY_AUTH_TOKEN_PATH in docs/many_machines.md"
                ) from error


def _check_connected_to(address: str) -> None:
    here = ray.get_runtime_context().gcs_address
    if address not in ("", "auto", here):
        raise errors.UserError(
            f"{errors.setting('ray_address', address)}: this program is already connected to Ray "
            f"at {here}"
        )


def machines() -> list[Machine]:
    """Returns the running machines of the cluster."""
    alive = (node["Resources"] for node in ray.nodes() if node["Alive"])
    return [Machine(int(r.get("CPU", 0)), int(r.get("GPU", 0))) for r in alive]


def plan(cluster: Sequence[Machine], actors: int | None = None) -> Plan:
    """Divides a cluster among actors.

    If there are GPUs, the default is one actor per GPU. Each actor has one lane. If there are more
    actors than GPUs, they share the GPUs evenly.

    If there are no GPUs, each actor has one lane per core of the smallest machine, and the default
    is as many actors as fit, which is one per machine of that size. If the number of actors is
    given, each actor gets as many lanes as the machines allow.

    Args:
      cluster: The machines.
      actors: Number of actors, or None for the default.

    Raises:
      UserError: If `actors` is below 1, or the cluster is too small for so many actors.
    """
    if actors is not None and actors < 1:
        raise errors.UserError(f"`ray_actors`={actors}: must be 1 or more")
    gpus = sum(machine.gpus for machine in cluster)
    if gpus:
        per_gpu = math.ceil((actors or gpus) / gpus)
        cores = min(m.cpus // (m.gpus * per_gpu) for m in cluster if m.gpus)
        return Plan(actors or gpus, 1, cores, 1 / per_gpu)
    sizes = [machine.cpus for machine in cluster if machine.cpus]
    if sum(sizes) < (actors or 1):
        given = f"`ray_actors`={actors}: " if actors else ""
        raise errors.UserError(f"{given}the Ray cluster has {sum(sizes)} cores")
    if actors is None:
        lanes = min(sizes)
        return Plan(sum(size // lanes for size in sizes), lanes, lanes, 0)
    # With one lane per actor, every core could have an actor. So some number of lanes fits.
    fitting = (n for n in range(max(sizes), 0, -1) if sum(s // n for s in sizes) >= actors)
    lanes = next(fitting)
    return Plan(actors, lanes, lanes, 0)
