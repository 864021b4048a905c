"""Whole programs: placement on devices, memory, and that no process outlives them."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _start(source, on_interrupt="default_int_handler"):
    # Without this line the program would do as the tests, which ignore SIGINT in the background.
    set_handler = f"import signal\nsignal.signal(signal.SIGINT, signal.{on_interrupt})\n"
    return subprocess.Popen(
        [sys.executable, "-c", set_handler + textwrap.dedent(source)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONPATH": str(ROOT)},
    )


def _run(source, on_interrupt="default_int_handler"):
    """Runs a program and returns its last line. Its pipes must close when it ends."""
    process = _start(source, on_interrupt)
    try:
        output, problems = process.communicate()
    finally:
        process.kill()
    assert process.returncode == 0, problems[-3000:]
    return json.loads(output.splitlines()[-1]), problems


_IMPORTS = """
import json
import os
import time
import numpy as np
import tff_nlp
import tensorflow as tf
import tensorflow_federated as tff
from tff_nlp.execution import contexts, streaming, worker
from tests.execution.conftest import batches, cohort, leaves, run_in
from tests.execution.test_streaming import _fed_avg, add_up
"""
_PREAMBLE = (
    _IMPORTS
    + """
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 3)
"""
)
# Uses TFF's worker and waits to be killed.
_TO_KILL = """
    tff.framework.set_default_context(worker.worker_context())
    add_up(5, [[1, 2], [3]])
    print(json.dumps(worker._workers()), flush=True)
    while True:
        time.sleep(60)
"""


@pytest.fixture(scope="module")
def program():
    """A program that ends while TFF's worker runs, and its child that was killed before.

    Importing takes most of the time, and the child shares it. Returns what the program printed at
    its end, its errors, and how the child ended with its workers.
    """
    process = _start(
        _IMPORTS
        + """
child = os.fork()
if not child:"""
        + _TO_KILL
        + """
print(json.dumps(child), flush=True)
_, killed = os.waitpid(child, 0)
# TFF's own default context starts a worker. It must end when another default context is set.
add_up(5, [[1, 2], [3]])
contexts.install("streaming")
replaced = worker._workers()
tff.framework.set_default_context(worker.worker_context())
result = [int(r) for r in add_up(5, [[1, 2], [3]])]
import gc
dropped = worker.WorkerContext()
run_in(dropped, add_up, 5, [[1, 2], [3]])
# Without a call of `close`: TFF ends the worker by SIGINT and waits for it.
dropped._context = None
gc.collect()
print(json.dumps([result, replaced, worker._workers(), os.waitstatus_to_exitcode(killed)]))
""",
        # As nohup has it, or a shell that starts the program in the background.
        on_interrupt="SIG_IGN",
    )
    try:
        child, workers_of_killed = sorted(
            (json.loads(process.stdout.readline()) for _ in range(2)), key=_is_list
        )
        for pid in workers_of_killed:
            os.kill(pid, 0)
        os.kill(child, signal.SIGKILL)
        output, problems = process.communicate()
    finally:
        process.kill()
    assert process.returncode == 0, problems[-3000:]
    *said, code = json.loads(output.splitlines()[-1])
    return said, problems, (code, workers_of_killed)


def _is_list(value):
    return isinstance(value, list)


@pytest.fixture(scope="module")
def lanes():
    """The output of one program that runs rounds on three devices, and starts children."""
    return _run(
        _PREAMBLE
        + """
context = streaming.StreamingContext([f"/CPU:{i}" for i in range(3)])
process = _fed_avg()
state = run_in(context, process.initialize)
many = run_in(context, process.next, state, list(cohort()))
lanes = context._program(process.next).cohort.lanes
places = [lane.accumulator[0].device[-5:] for lane in lanes]
one = run_in(streaming.StreamingContext(["/CPU:0"]), process.next, state, list(cohort()))
worst = max(float(np.abs(a - b).max()) for a, b in
            zip(leaves(many.state), leaves(one.state)) if a.dtype.kind == "f")
total = int(run_in(context, add_up, 1, [[1], [2], [3], [4]])[0])
tff.framework.set_default_context(worker.worker_context())
add_up(5, [[1, 2], [3]])
import subprocess
# A function to run before the program has Python fork instead of the cheaper vfork.
children = [subprocess.run(["/bin/true"], preexec_fn=lambda: None).returncode for _ in range(50)]
print(json.dumps([places, worst, total, children]))
"""
    )


@pytest.mark.slow
def test_a_lane_per_device(lanes):
    (places, worst, total, _), _ = lanes
    assert places == ["CPU:0", "CPU:1", "CPU:2"]
    # The weights are below 1, so another order of five float32 additions changes them by 2^-24.
    assert worst < 1e-6
    assert total == 11


@pytest.mark.slow
def test_children_of_a_program_with_a_worker_do_not_crash(lanes):
    (*_, children), _ = lanes
    assert not any(children)


def _children(pid):
    listed = subprocess.run(
        ["ps", "-o", "pid=,stat=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    lines = (line.split() for line in listed.stdout.splitlines())
    return [int(child) for child, state in lines if not state.startswith("Z")]


@pytest.mark.thorough
def test_no_worker_outlives_a_program(program):
    (result, replaced, workers), problems, _ = program
    assert result == [11, 6]
    assert replaced == []
    assert len(workers) == 1
    _wait_for_end(workers)
    assert "Traceback" not in problems


def _runs(pid):
    """Whether a process runs. A zombie process does not run."""
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _wait_for_end(pids):
    """Waits for processes that are not our children. The test fails if one never ends."""
    while any(map(_runs, pids)):
        time.sleep(0.05)


def test_no_worker_outlives_a_program_that_is_killed(program):
    _, _, (code, workers) = program
    assert code == -signal.SIGKILL
    assert workers
    _wait_for_end(workers)


@pytest.mark.slow
def test_no_worker_outlives_a_program_that_is_terminated():
    process = _start(_PREAMBLE + "if True:" + _TO_KILL)
    try:
        workers = json.loads(process.stdout.readline())
        assert workers
        for pid in workers:
            os.kill(pid, 0)
    finally:
        process.send_signal(signal.SIGTERM)
    # The workers hold the pipes open, too.
    process.communicate()
    assert process.returncode == -signal.SIGTERM
    _wait_for_end(workers)


def _interrupt(source, ready="ready"):
    """Starts a program that does not end by itself and sends SIGINT when it prints `ready`."""
    process = _start(source)
    try:
        while process.stdout.readline().strip() != ready:
            assert process.poll() is None, process.stderr.read()[-2000:]
        time.sleep(0.5)
        children = _children(process.pid)
        process.send_signal(signal.SIGINT)
        process.communicate()
    finally:
        process.kill()
    assert process.returncode != 0
    _wait_for_end(children)


_ENDLESS = """
numbers = tf.data.Dataset.range(10**12).map(lambda n: tf.cast(n % 3, tf.int32))
print("ready", flush=True)
add_up(0, [numbers] * 4)
"""


@pytest.mark.slow
def test_ctrl_c_ends_a_program_in_the_middle():
    install = "tff.framework.set_default_context(streaming.StreamingContext())"
    _interrupt(_PREAMBLE + install + _ENDLESS)


@pytest.mark.slow
def test_ctrl_c_ends_the_worker():
    install = """
tff.framework.set_default_context(worker.worker_context())
add_up(0, [[1]])
"""
    _interrupt(_PREAMBLE + install + _ENDLESS)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_cohort():
    (small, large), _ = _run(
        _PREAMBLE
        + """
import resource
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
size = 2_000_000
@tff.tensorflow.computation(tff.SequenceType(np.int32), tff.TensorType(np.float32, [size]))
def work(numbers, weights):
    return weights * tf.cast(numbers.reduce(0, lambda a, b: a + b), tf.float32)
@tff.federated_computation(tff.FederatedType(tff.TensorType(np.float32, [size]), tff.SERVER),
    tff.FederatedType(tff.SequenceType(np.int32), tff.CLIENTS))
def next_round(weights, numbers):
    updates = tff.federated_map(work, (numbers, tff.federated_broadcast(weights)))
    return tff.federated_mean(updates), tff.federated_sum(updates)
context = streaming.StreamingContext(["/CPU:0"] * 2)
peaks = []
for count in (10, 10, 1000):
    run_in(context, next_round, np.ones(size, np.float32),
           [tf.data.Dataset.from_tensors(np.int32(1))] * count)
    peaks.append(peak())
print(json.dumps(peaks[1:]))
"""
    )
    assert large <= 1.1 * small
