"""A federation in one process: a coordinator, and silos in threads, over real connections."""

import contextlib
import dataclasses
import socket
import threading

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.aggregation.secure_aggregation import demands
from tff_nlp.deployment import (
    attendance,
    certificates,
    connection,
    participation,
    plan,
    policy,
    sent_log,
    service,
    silo_context,
    silo_rounds,
    silo_work,
    wire_form,
)
from tff_nlp.deployment import federation_pb2 as pb
from tff_nlp.execution import forms

NO_LIMITS = policy.Policy()
_VECTOR = tff.TensorType(np.float32, [3])


def mean(secure, vector=_VECTOR):
    """Returns a computation (state, numbers of clients) -> (state plus the sum of all means, 0)."""

    @tff.tensorflow.computation(tff.SequenceType(vector), vector)
    def work(rows, state):
        total, count = rows.reduce(
            (tf.zeros(vector.shape), 0.0), lambda t, r: (t[0] + r, t[1] + 1.0)
        )
        return total / tf.maximum(count, 1.0) + state * 0.1

    @tff.tensorflow.computation(vector)
    def to_integers(update):
        return tf.cast(tf.round(update * 1000.0), tf.int32) + 100_000

    @tff.tensorflow.computation(tff.TensorType(np.int32, vector.shape), np.float32)
    def from_integers(total, count):
        return (tf.cast(total, tf.float32) - 100_000.0 * count) / 1000.0

    @tff.tensorflow.computation(vector)
    def one(_):
        return 1.0

    @tff.tensorflow.computation(vector, vector)
    def add(a, b):
        return a + b

    @tff.federated_computation(
        tff.FederatedType(vector, tff.SERVER),
        tff.FederatedType(tff.SequenceType(vector), tff.CLIENTS),
    )
    def next_fn(state, data):
        update = tff.federated_map(work, (data, tff.federated_broadcast(state)))
        count = tff.federated_sum(tff.federated_map(one, update))
        if secure:
            integers = tff.federated_map(to_integers, update)
            total = tff.federated_secure_sum_bitwidth(integers, 20)
            total = tff.federated_map(from_integers, (total, count))
        else:
            total = tff.federated_sum(update)
        return tff.federated_map(add, (state, total)), count

    return next_fn


@dataclasses.dataclass
class Federation:
    """A coordinator, and what a test needs to start silos."""

    names: tuple
    keys: dict
    plan: plan.Plan
    form: object
    data: dict
    context: silo_context.SiloContext
    computation: object
    port: int
    folder: object
    lines: list
    connections: service.Service

    @property
    def address(self):
        return f"localhost:{self.port}"

    def invoke(self, state, number=0, names=None):
        """Computes a round."""
        clients = [silo_context.RemoteClient(name, number) for name in names or self.names]
        return self.context.invoke(self.computation, [np.asarray(state, np.float32), clients])

    def silo(self, name, limits=NO_LIMITS, work=None, link=None):
        """Returns a silo, and the function that takes part in a thread."""
        own = certificates.load(self.keys[name])
        link = link or connection.Connection(self.address, own)

        def brought(number, _):
            return tf.data.Dataset.from_tensor_slices(self.data[name] + np.float32(number))

        computation = silo_work.Computation(self.form, brought, [], name)
        if work is not None:
            computation = work(computation)
        log = sent_log.SentLog(self.folder / f"{name}.jsonl")
        return silo_rounds.Silo(
            link, own, self.plan, limits, computation, log, lambda *line: self.lines.append(line)
        )

    def start(self, names=None, **options):
        """Starts silos in threads."""
        silos = {}
        for name in names or self.names:
            silo = silos[name] = self.silo(name, **options)
            threading.Thread(target=_until_the_end, args=(silo,), daemon=True).start()
        return silos

    def finish(self):
        """Tells the silos that the federation is finished."""
        self.connections.finished = True
        self.connections.attendance.send(self.names, lambda _: pb.Task(kind=pb.Task.FINISHED))


def _until_the_end(silo):
    # The coordinator of a test may end first.
    with contextlib.suppress(Exception):
        silo.take_part(5.0)


def free_port():
    with socket.create_server(("localhost", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    """The keys of seven parties."""
    folder = tmp_path_factory.mktemp("keys") / "federation"
    names = ["ash", "birch", "cedar", "date", "elm"]
    return certificates.enrol(folder, names, ["localhost", "127.0.0.1"])


@pytest.fixture(scope="session")
def computations():
    """The rounds of the tests: with sums in the clear, and with secure sums."""
    found = {}
    for secure in (False, True):
        computation = mean(secure)
        found[secure] = computation, forms.compile_round(computation)
    return found


@pytest.fixture
def make_federation(keys, computations, tmp_path):
    """Returns a function that starts a coordinator."""
    with contextlib.ExitStack() as stack:

        def make(secure=False, failed=0, seconds=30.0, threshold=None, rounds=5, computed=None):
            computation, form = computed or computations[secure]
            own = certificates.load(keys["coordinator"])
            names = own.members.names
            lines = []

            def say(*line):
                lines.append(line)

            sizes = wire_form.sizes(form, len(names))
            agreed = plan.Plan(
                settings={"rounds": rounds, "clients_per_round": len(names)},
                labels=(),
                silos=names,
                computation="",
                model={},
                sent=dataclasses.asdict(sizes),
                threshold=threshold or (4 if secure else 0),
                versions={},
            )
            connections = service.Service(agreed.encode(), attendance.Attendance(names, say), say)
            port = free_port()
            server = service.start(connections, own, f"localhost:{port}")
            stack.callback(lambda: server.stop(0).wait())
            stack.callback(connections.attendance.close)
            masking = None
            if secure:
                masking = silo_context.Masking(own, threshold, demands.DEFAULT)
            context = silo_context.SiloContext(
                connections,
                participation.Participation(tmp_path / participation.NAME, 0),
                say,
                silo_context.Patience(seconds, key_seconds=5.0),
                masking=masking,
                max_failed_clients=failed,
            )
            rng = np.random.default_rng(0)
            data = {name: rng.normal(size=(4, 3)).astype(np.float32) for name in names}
            return Federation(
                names,
                keys,
                agreed,
                form,
                data,
                context,
                computation,
                port,
                tmp_path,
                lines,
                connections,
            )

        yield make
