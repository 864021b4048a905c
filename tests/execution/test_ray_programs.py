"""Whole programs on Ray: no process outlives them, and a machine may be lost."""

import os
import signal
import subprocess
import time

import pytest

from tests.execution.test_programs import _PREAMBLE, _run, _start, _wait_for_end

pytest.importorskip("ray", reason="needs the extra ray")
pytestmark = pytest.mark.slow

_ROUNDS = (
    _PREAMBLE
    + """
from tff_nlp.execution import contexts
contexts.install("ray", ray_options=contexts.RayOptions(actors=1))
assert add_up(5, [[1, 2], [3]]) == (11, 6)
"""
)

_ENDLESS = """
@tff.tensorflow.computation(np.int64)
def spin(turns):
    return tf.while_loop(lambda i: i < turns, lambda i: (i + 1,), [tf.constant(0, tf.int64)])[0]
@tff.federated_computation(tff.FederatedType(np.int64, tff.CLIENTS))
def endless(turns):
    return tff.federated_sum(tff.federated_map(spin, turns))
print("ready", flush=True)
endless([10**15] * 4)
"""

_LITTLE = """
import time
print("ready", flush=True)
time.sleep(2)
"""


def _descendants(pid):
    """Returns the ids of all descendants of a process."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True)
    children = {}
    for line in listed.stdout.splitlines():
        child, parent = map(int, line.split())
        children.setdefault(parent, []).append(child)
    found, pending = [], [pid]
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += below
    return found


@pytest.mark.parametrize("number", [None, signal.SIGINT, signal.SIGTERM])
def test_nothing_outlives_a_program(number):
    process = _start(_ROUNDS + (_ENDLESS if number else _LITTLE))
    try:
        while process.stdout.readline().strip() != "ready":
            assert process.poll() is None, process.stderr.read()[-2000:]
        below = _descendants(process.pid)
        assert len(below) >= 4  # Ray's own processes and the actor
        time.sleep(1.0)
        if number:
            process.send_signal(number)
        # The pipes close when the last process that holds them ends.
        process.communicate()
    finally:
        process.kill()
    assert (process.returncode == 0) == (number is None)
    _wait_for_end(below)


def test_one_actor_gives_the_streaming_contexts_bits():
    (lanes, same), _ = _run(
        _PREAMBLE
        + """
from tff_nlp.execution import contexts
context = contexts.install("ray")
process = _fed_avg()
state = process.initialize()
ours = process.next(state, list(cohort()))
in_process = streaming.StreamingContext(["/CPU:0"] * len(context.devices))
theirs = run_in(in_process, process.next, state, list(cohort()))
same = [bool((a == b).all()) for a, b in zip(leaves(ours), leaves(theirs), strict=True)]
print(json.dumps([len(context.devices), all(same)]))
"""
    )
    assert lanes == len(os.sched_getaffinity(0))
    assert same


_TWO_MACHINES = """
import json, logging, threading, pathlib, tempfile
logging.basicConfig(level=logging.INFO)
import ray
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
machines = [cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20) for _ in range(2)]
cluster.wait_for_nodes()
"""


def test_the_sums_of_a_lost_machine_are_computed_again():
    """The second share is done, but its sums are on a machine that is lost before they are sent."""
    (same, said, machines), problems = _run(
        _TWO_MACHINES
        + _PREAMBLE
        + """
from tests.execution.test_ray_context import _clients, _waiting_round, _in_the_middle, _wait_for
from tff_nlp.execution import ray_context, ray_cluster
context = ray_context.RayContext(cluster.address)
seen = ray_cluster.machines()
folder = pathlib.Path(tempfile.mkdtemp())
total = _waiting_round(folder, size=10**6)
expected = run_in(streaming.StreamingContext(["/CPU:0"] * 2), total, _clients())
lost = []
def lose_a_machine():
    # Client 38 is in the first share, whose lane waits; the other share ends meanwhile.
    _in_the_middle(folder, 38)
    _wait_for(lambda: rounds[0]._shares[1].sums is not None)
    busy = next(iter(rounds[0]._attempts)).handle
    place = {a["ActorID"]: a["Address"]["NodeID"] for a in ray._private.state.actors().values()}
    busy_node = place[busy._actor_id.hex()]
    victim = next(m for m in machines if m.node_id != busy_node)
    cluster.remove_node(victim, allow_graceful=False)
    lost.append(victim.node_id)
    (folder / "go").touch()
from tff_nlp.execution import ray_round
rounds = []
make = ray_round.Round.__init__
def note(self, *arguments, **options):
    rounds.append(self)
    make(self, *arguments, **options)
ray_round.Round.__init__ = note
thread = threading.Thread(target=lose_a_machine)
thread.start()
result = run_in(context, total, _clients(38))
thread.join()
same = [bool((a == b).all()) for a, b in zip(leaves(result), leaves(expected), strict=True)]
print(json.dumps([all(same), len(lost), len(seen)]))
context.close()
cluster.shutdown()
"""
    )
    assert same
    assert said == 1
    assert machines == 3
    assert "are lost with their machine; they run again" in problems


def test_a_gpu_that_tensorflow_does_not_find():
    (said,), _ = _run(
        """
import json, logging
import ray
# Ray does not check this number of GPUs.
ray.init(address="local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False,
         object_store_memory=100 * 2**20)
"""
        + _PREAMBLE
        + """
from tff_nlp import errors
from tff_nlp.execution import ray_context
context = ray_context.RayContext()
assert context.devices == ("ray:0/GPU:0",), context.devices
try:
    run_in(context, add_up, 5, [[1, 2], [3]])
except errors.RunError as error:
    print(json.dumps([str(error)]))
"""
    )
    assert said.startswith("Ray gave actor 0 a GPU of ")
    assert "EXTRAS=gpu" in said
