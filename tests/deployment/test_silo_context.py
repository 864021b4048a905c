"""Rounds over real connections equal those of the streaming context."""

import json
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from tff_nlp.execution import streaming


def streamed(federation, state, number=0, names=None):
    context = streaming.StreamingContext(["/CPU:0"])
    data = [
        tf.data.Dataset.from_tensor_slices(federation.data[name] + np.float32(number))
        for name in names or federation.names
    ]
    return context.invoke(federation.computation, [np.asarray(state, np.float32), data])


@pytest.mark.thorough
@pytest.mark.parametrize("secure", [False, True])
def test_rounds_have_the_bits_of_the_streaming_context(make_federation, secure):
    federation = make_federation(secure)
    federation.start()
    state = expected = np.zeros(3, np.float32)
    for number in range(3):
        state, count = federation.invoke(state, number)
        expected, expected_count = streamed(federation, expected, number)
        assert np.asarray(state).tobytes() == np.asarray(expected).tobytes()
        assert count == expected_count == len(federation.names)
    assert federation.context.record.last("ash") == 3


def test_a_silo_that_dies_is_left_out_if_that_is_permitted(make_federation):
    federation = make_federation(failed=1, seconds=8.0)
    alive = federation.names[1:]
    federation.start(alive)
    state, count = federation.invoke(np.zeros(3))
    expected, _ = streamed(federation, np.zeros(3), names=alive)
    assert np.asarray(state).tobytes() == np.asarray(expected).tobytes()
    assert count == 4
    assert federation.context.failed_clients == (0,)
    assert federation.context.record.last(federation.names[0]) == 0


def test_a_round_waits_for_a_silo_that_must_not_fail(make_federation):
    federation = make_federation()
    late = federation.names[2]
    federation.start([name for name in federation.names if name != late])
    results = []
    thread = threading.Thread(target=lambda: results.append(federation.invoke(np.zeros(3))))
    thread.start()
    ends = time.monotonic() + 20
    while ("waiting", f"for {late}") not in federation.lines and time.monotonic() < ends:
        time.sleep(0.05)
    assert not results
    federation.start([late])
    thread.join(20)
    ((_, count),) = results
    assert count == len(federation.names)


class Stumbling:
    """A computation that fails once, or that is slow once."""

    def __init__(self, computation, seconds=0.0, error=None):
        self.computation, self.seconds, self.error = computation, seconds, error
        self.summands = computation.summands
        self.fetched_specs = computation.fetched_specs

    def __call__(self, *arguments):
        seconds, self.seconds = self.seconds, 0.0
        error, self.error = self.error, None
        time.sleep(seconds)
        if error is not None:
            raise error
        return self.computation(*arguments)


@pytest.mark.parametrize("secure", [False, True])
def test_a_failed_computation_aborts_the_round_and_the_next_attempt_succeeds(
    make_federation, secure
):
    federation = make_federation(secure)
    federation.start(federation.names[:-1])
    error = tf.errors.InvalidArgumentError(None, None, "the secret text of a patient")
    federation.start(federation.names[-1:], work=lambda c: Stumbling(c, error=error))
    state, count = federation.invoke(np.zeros(3))
    assert count == len(federation.names)
    expected, _ = streamed(federation, np.zeros(3))
    assert np.asarray(state).tobytes() == np.asarray(expected).tobytes()
    assert federation.context.aborted == 1
    said = [line for word, line in federation.lines if word in ("silo", "aborted")]
    assert any("its computation failed (InvalidArgumentError)" in line for line in said)
    assert not any("patient" in line for line in said), "a message may quote a text"


def test_a_slow_silo_is_left_out_at_the_deadline(make_federation):
    federation = make_federation(failed=1, seconds=8.0)
    slow = federation.names[0]
    federation.start(federation.names[1:])
    federation.start([slow], work=lambda c: Stumbling(c, seconds=14.0))
    _, count = federation.invoke(np.zeros(3))
    assert count == 4
    # It comes back with the next round.
    time.sleep(7.0)
    _, count = federation.invoke(np.zeros(3), 1)
    assert count == 5


def test_a_secure_sum_goes_on_without_a_silo_that_drops_out(make_federation):
    federation = make_federation(secure=True, failed=1, seconds=10.0)
    gone = federation.names[3]
    federation.start([name for name in federation.names if name != gone])
    error = tf.errors.InternalError(None, None, "broken")
    # It has shared its keys when its computation fails.
    federation.start([gone], work=lambda c: Stumbling(c, error=error))
    state, count = federation.invoke(np.zeros(3))
    rest = [name for name in federation.names if name != gone]
    expected, _ = streamed(federation, np.zeros(3), names=rest)
    np.testing.assert_array_equal(state, expected)
    assert count == 4


def test_a_silo_writes_down_what_it_sent_before_it_sends_it(make_federation):
    federation = make_federation()
    federation.start()
    federation.invoke(np.zeros(3))
    name = federation.names[0]
    (entry,) = map(json.loads, (federation.folder / f"{name}.jsonl").read_text().splitlines())
    assert entry["what"] == "update"
    # An update of three numbers, and a count.
    assert (entry["round"], entry["bytes"]) == (1, 16)
    assert federation.connections.traffic.of(name).up == federation.plan.sent["up"] == 16
    assert federation.connections.traffic.of(name).down == federation.plan.sent["down"] == 12
