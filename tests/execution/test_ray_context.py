"""Rounds on Ray actors give the same sums as one process, also when actors die.

Two actors of one lane each add the same floats in the same order as two lanes of the streaming
context, so their results are equal bit for bit. With another number of lanes the order of the
additions differs, and results may differ by `BOUND` times a tensor's largest number.
"""

import collections
import concurrent.futures
import dataclasses
import gc
import logging
import os
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.execution.conftest import assert_close, cohort, leaves, run_in
from tests.execution.test_client_values import (
    CLIENTS,
    broadcast_back,
    only_mapped,
    with_reports,
)
from tests.execution.test_streaming import (
    _failing,
    _fed_avg,
    _modular_sum,
    _run_secure,
    _secure_round,
    add_up,
)
from tff_nlp import errors
from tff_nlp.aggregation.encryption import fixed_point_mean
from tff_nlp.aggregation.robust import robust_mean
from tff_nlp.execution import contexts, lane_runs, streaming

ray = pytest.importorskip("ray", reason="needs the extra ray")

from tff_nlp.execution import ray_context  # noqa: E402

BOUND = 1e-5


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two cores with a small object store."""
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=100 * 2**20,
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def actors(cluster):
    """The context with two actors of one lane each."""
    context = ray_context.RayContext(actors=2)
    yield context
    context.close()


def assert_same_bits(ours, theirs):
    for a, b in zip(leaves(ours), leaves(theirs), strict=True):
        np.testing.assert_array_equal(a, b)


class TestSameResults:
    @pytest.mark.slow
    def test_tff_learning(self, actors, context):
        assert actors.devices == ("ray:0/CPU:0", "ray:1/CPU:0")
        process = _fed_avg()
        states = [run_in(c, process.initialize) for c in (actors, context)]
        for _ in range(2):
            ours, theirs = (
                run_in(c, process.next, state, list(cohort()))
                for c, state in zip((actors, context), states, strict=True)
            )
            assert_same_bits(ours, theirs)
            states = [ours.state, theirs.state]
        one_lane = streaming.StreamingContext(["/CPU:0"])
        assert_close(
            run_in(actors, process.next, states[0], list(cohort())),
            run_in(one_lane, process.next, states[0], list(cohort())),
            BOUND,
        )

    @pytest.mark.thorough
    @pytest.mark.parametrize("name", ["fedavg", pytest.param("fedprox", marks=pytest.mark.slow)])
    def test_a_bert(self, actors, context, name):
        from tests.learning import conftest as berts
        from tff_nlp.learning.algorithms import fed_avg, fed_prox

        model = berts.tiny_classifier()
        algorithm = {"fedavg": fed_avg.fed_avg, "fedprox": fed_prox.fed_prox}[name]
        process, state = berts.begin(model, algorithm=algorithm)
        data = berts.cohort(model)
        ours = run_in(actors, process.next, state, data)
        assert_same_bits(ours, run_in(context, process.next, state, data))
        one_lane = streaming.StreamingContext(["/CPU:0"])
        assert_close(ours, run_in(one_lane, process.next, state, data), BOUND)

    def test_updates_that_are_compared(self, actors, context):
        factory = robust_mean.RobustMeanFactory("krum", attackers=1)
        process = factory.create(
            tff.types.tensorflow_to_type((tf.TensorSpec([3], tf.float32),)),
            tff.TensorType(np.float32),
        )
        state = run_in(context, process.initialize)
        updates = [(row,) for row in np.random.default_rng(0).normal(size=[6, 3]).astype("f4")]
        for weights in ([1.0] * 6, [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]):
            ours = run_in(actors, process.next, state, updates, weights)
            assert_same_bits(ours, run_in(context, process.next, state, updates, weights))

    @pytest.mark.thorough
    def test_updates_that_are_compressed(self, actors, context):
        from tests.learning import softmax_model as linear
        from tff_nlp.aggregation.compression import coded_mean, coding, rounding, top_k
        from tff_nlp.learning import client_input, composition
        from tff_nlp.learning.algorithms import fed_avg

        coded = coding.Coding(top_k.TopK(0.3, rounding.Rounding(8)), 0)
        process = fed_avg.fed_avg(linear.task(), aggregator=coded_mean.CodedMeanFactory(coded))
        state = run_in(context, composition.initial_state, process, linear.task())
        kept = [process.client_specs] * 3
        for _ in range(2):
            data = [
                client_input.with_values(linear.dataset(client, 8), state=own)
                for client, own in enumerate(kept)
            ]
            ours = run_in(actors, process.next, state, data)
            assert_same_bits(ours, run_in(context, process.next, state, data))
            state, kept = ours.state, [tuple(own) for own in ours.clients]

    def test_sums_of_a_fixed_step(self, actors, context):
        process = fixed_point_mean.FixedPointMeanFactory().create(
            tff.types.tensorflow_to_type((tf.TensorSpec([3], tf.float32),)),
            tff.TensorType(np.float32),
        )
        state = run_in(context, process.initialize)
        updates = [(row,) for row in np.random.default_rng(0).normal(size=[6, 3]).astype("f4")]
        found = run_in(actors, process.next, state, updates, [1.0] * 6).result[0]
        np.testing.assert_allclose(found, np.mean([u[0] for u in updates], 0), atol=1e-6)

    def test_secure_sums(self, actors):
        modular = _secure_round(lambda v: _modular_sum(v, 10))
        assert list(_run_secure(modular, [9, 3], [9, 3], [9, 3], context=actors)) == [7, 9]
        bits = _secure_round(lambda v: tff.federated_secure_sum_bitwidth(v, 3))
        assert list(_run_secure(bits, [0, 7], [7, 7], context=actors)) == [7, 14]
        with pytest.raises(lane_runs.ClientError, match="0 to 7 got the input.*8") as raised:
            _run_secure(bits, [0, 7], [0, 8], [1, 1], context=actors)
        assert raised.value.position == 1

    def test_numbers_of_clients(self, actors):
        assert run_in(actors, add_up, 5, []) == (5, 0)
        assert run_in(actors, add_up, 5, [[1, 2]]) == (8, 3)
        many = [[n, 1] for n in range(100)]
        assert run_in(actors, add_up, 5, many) == (5 + 5050, 5050)

    def test_computations_without_clients_run_in_this_process(self, actors, reference):
        @tff.federated_computation
        def three():
            return tff.federated_eval(tff.tensorflow.computation(lambda: 3), tff.SERVER)

        assert run_in(actors, three) == 3
        doubled = tff.tensorflow.computation(lambda x: 2 * x, np.int32)
        assert run_in(actors, doubled, 4) == 8

        @tff.federated_computation(tff.FederatedType(np.int32, tff.SERVER))
        def server_only(value):
            return tff.federated_map(doubled, value)

        actors._worker = reference
        assert run_in(actors, server_only, 4) == 8


class TestClientFailures:
    VALUES = ([1, 2], [3, 4], [5, 6], [7, 8])

    def data(self, *positions):
        return [
            _failing(i if i in positions else None)(i, values)
            for i, values in enumerate(self.VALUES)
        ]

    @pytest.fixture
    def tolerant_actors(self, actors):
        actors.max_failed_clients = 2
        yield actors
        actors.max_failed_clients = 0

    def test_the_error_has_the_clients_position(self, actors):
        with pytest.raises(lane_runs.ClientError, match="client 2 .*broken") as raised:
            run_in(actors, add_up, 0, self.data(2))
        assert raised.value.position == 2
        assert run_in(actors, add_up, 0, self.data()) == (36, 36)

    def test_the_round_goes_on_without_data_that_cannot_be_read(self, tolerant_actors, caplog):
        assert run_in(tolerant_actors, add_up, 0, self.data(1, 2)) == (18, 18)
        assert tolerant_actors.failed_clients == (1, 2)
        assert "client 1" in caplog.text

    def test_the_round_goes_on_without_clients_that_fail_in_an_actor(self, tolerant_actors):
        @tff.federated_computation(
            tff.FederatedType(np.int32, tff.SERVER), tff.FederatedType(np.int32, tff.CLIENTS)
        )
        def both(state, values):
            return state, (tff.federated_sum(values), tff.federated_secure_sum(values, 10))

        assert run_in(tolerant_actors, both, 0, [1, 2, 30, 4, -1]) == (0, (7, 7))
        assert tolerant_actors.failed_clients == (2, 4)
        with pytest.raises(lane_runs.ClientError, match="client"):
            run_in(tolerant_actors, both, 0, [1, 20, 30, 40, 1])

    def test_a_client_with_too_much_data(self, actors):
        limits = actors.limits
        actors.limits = dataclasses.replace(limits, client_bytes=100)
        try:
            with pytest.raises(lane_runs.ClientError, match="client 1 .* more than 100 bytes"):
                run_in(actors, add_up, 0, [[1], list(range(50))])
        finally:
            actors.limits = limits


_CLIENT = collections.OrderedDict(wait=np.str_, number=np.float32)


def _waiting_round(folder, size=1):
    """A round in which clients can create a file in a folder, and wait for another file there."""

    @tff.tensorflow.computation(tff.to_type(_CLIENT))
    def work(client):
        wait = client["wait"]
        waits = tf.strings.length(wait) > 0
        go = tf.strings.join([str(folder), "/go"])
        started = tf.strings.join([str(folder), "/started_", wait])

        def signal_and_wait():
            def absent(turn):
                # The turn is in the pattern, so that TensorFlow does not compute it only once.
                end = tf.strings.substr(tf.as_string(turn), 0, 0)
                return tf.equal(tf.size(tf.io.matching_files(tf.strings.join([go, end]))), 0)

            with tf.control_dependencies([tf.io.write_file(started, "")]):
                return tf.while_loop(absent, lambda turn: (turn + 1,), [tf.constant(0)])[0]

        turns = tf.cond(waits, signal_and_wait, lambda: tf.constant(0))
        # float32 sums of these numbers differ with their order.
        number = client["number"] + 0.0 * tf.cast(turns, tf.float32)
        return tf.fill([size], tf.math.exp(tf.math.sin(number * 1e3)))

    first = tff.tensorflow.computation(lambda row: row[0], work.type_signature.result)

    @tff.federated_computation(tff.FederatedType(tff.to_type(_CLIENT), tff.CLIENTS))
    def total(clients):
        rows = tff.federated_map(work, clients)
        return tff.federated_sum(rows), tff.federated_map(first, rows)

    return total


def _clients(*waiting):
    return [
        collections.OrderedDict(wait=str(i) if i in waiting else "", number=np.float32(i))
        for i in range(40)
    ]


def _wait_for(condition):
    while not condition():
        time.sleep(0.05)


def _in_the_middle(folder, *positions):
    """Waits until clients run."""
    _wait_for(lambda: all((folder / f"started_{p}").exists() for p in positions))


class TestClientValues:
    @pytest.mark.parametrize(
        ("computation", "arguments"),
        [
            (with_reports, (10, CLIENTS)),
            (only_mapped, (CLIENTS, 10)),
            (broadcast_back, (10, CLIENTS)),
        ],
    )
    def test_values_come_back_in_the_order_of_the_clients(
        self, actors, context, computation, arguments
    ):
        ours = run_in(actors, computation, *arguments)
        assert_same_bits(ours, run_in(context, computation, *arguments))

    def test_the_order_of_clients_is_kept_where_it_matters(self, actors):
        join = tff.tensorflow.computation(lambda a, b: tf.strings.join([a, b]), (np.str_, np.str_))
        same = tff.tensorflow.computation(lambda a: a, np.str_)

        @tff.federated_computation(tff.FederatedType(np.str_, tff.CLIENTS))
        def text(texts):
            return tff.federated_aggregate(texts, "", join, join, same)

        assert run_in(actors, text, list("abcdefg")) == b"abcdefg"


class TestThreads:
    def test_results_belong_to_their_arguments(self, actors):
        def wrong(thread):
            numbers = range(100 * thread, 100 * thread + 5)
            sums = [run_in(actors, add_up, 0, [[n], [n, n]])[1] for n in numbers]
            values = [run_in(actors, only_mapped, [[n]], 1)[0]["total"] for n in numbers]
            return sums != [3 * n for n in numbers] or values != [n + 1 for n in numbers]

        with concurrent.futures.ThreadPoolExecutor(3) as threads:
            assert not any(threads.map(wrong, range(3)))

    def test_actors_forget_a_deleted_round(self, actors):
        def make():
            @tff.federated_computation(tff.FederatedType(np.float32, tff.CLIENTS))
            def total(values):
                return tff.federated_sum(values)

            before = set(actors.pool.actors[0].forms)
            assert run_in(actors, total, [1.0, 2.0]) == 3.0
            return set(actors.pool.actors[0].forms) - before

        new = make()
        gc.collect()
        assert new
        assert not new & actors.pool.actors[0].forms


class TestDeaths:
    @pytest.mark.parametrize("how", ["ray.kill", "os.kill"])
    def test_the_result_is_the_same_bit_for_bit(self, actors, context, tmp_path, caplog, how):
        total = _waiting_round(tmp_path)
        expected = run_in(context, total, _clients())
        victim = actors.pool.actors[1]
        # Both actors are running a client when one actor dies: clients 30 and 31.
        waiting = 30, 31

        def kill():
            _in_the_middle(tmp_path, *waiting)
            if how == "ray.kill":
                ray.kill(victim.handle)
            else:
                os.kill(victim.hello.pid, 9)
            (tmp_path / "go").touch()

        killer = threading.Thread(target=kill)
        _wait_for(lambda: _all_ready(actors))
        victim = actors.pool.actors[1]
        killer.start()
        with caplog.at_level(logging.INFO, logger="tff_nlp"):
            result = run_in(actors, total, _clients(*waiting))
        killer.join()
        assert_same_bits(result, expected)
        assert f"actor 1 (process {victim.hello.pid}" in caplog.text
        assert "20 clients run again" in caplog.text
        assert actors.pool.actors[1] is not victim

    def test_an_actor_that_died_between_rounds(self, actors, context, tmp_path):
        total = _waiting_round(tmp_path)
        _wait_for(lambda: _all_ready(actors))
        ray.kill(actors.pool.actors[0].handle)
        result = run_in(actors, total, _clients())
        assert_same_bits(result, run_in(context, total, _clients()))

    def test_clients_that_kill_every_actor(self, actors):
        def end():
            # TensorFlow ends the process here.
            with tf.control_dependencies([tf.raw_ops.Abort(error_msg="the end")]):
                return tf.constant(0)

        @tff.tensorflow.computation(np.int32)
        def work(value):
            return value + tf.cond(tf.equal(value, 2), end, lambda: tf.constant(0))

        @tff.federated_computation(tff.FederatedType(np.int32, tff.CLIENTS))
        def total(values):
            return tff.federated_sum(tff.federated_map(work, values))

        limits = actors.limits
        actors.limits = dataclasses.replace(limits, deaths=2)
        try:
            with pytest.raises(errors.RunError, match="2 Ray actors died .* positions 1, 3 of"):
                run_in(actors, total, [0, 2, 4, 6])
        finally:
            actors.limits = limits
        assert run_in(actors, total, [0, 1]) == 1

    def test_a_cluster_without_free_cores(self, actors):
        # The other context's actors have both cores.
        context = ray_context.RayContext(actors=2, start_seconds=0.5)
        try:
            with pytest.raises(errors.RunError, match="no Ray actor has started .* free 0 cores"):
                run_in(context, add_up, 0, [[1]])
        finally:
            context.close()


def _all_ready(context):
    """Whether every actor has started. Marks the started actors as ready."""
    for actor in context.pool.actors:
        if actor.hello is None:
            ready, _ = ray.wait([actor.started], timeout=0)
            if ready:
                context.pool.welcome(actor, ray.get(actor.started))
    return all(actor.hello is not None for actor in context.pool.actors)


@pytest.mark.thorough
def test_a_context_by_name(cluster, actors):
    with pytest.raises(errors.UserError, match="context=streaming: has no ray_address"):
        contexts.install("streaming", ray_options=contexts.RayOptions(actors=1))
    with pytest.raises(errors.UserError, match="context=ray: has no devices"):
        contexts.install("ray", ["/CPU:0"])
    with pytest.raises(errors.UserError, match="ray_actors=5: the Ray cluster has 2 cores"):
        contexts.install("ray", ray_options=contexts.RayOptions(actors=5))
    with pytest.raises(errors.UserError, match="connected to Ray at"):
        contexts.install("ray", ray_options=contexts.RayOptions(address="10.0.0.1:6379"))
    # The cluster of the fixture still runs after all of this.
    assert ray.is_initialized()
    assert contexts.devices_of(actors) == actors.devices
    sent = contexts.count_bytes(actors, add_up, cohort=3)
    assert sent.up == 4
