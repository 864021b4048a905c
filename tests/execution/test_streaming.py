"""The streaming context: forms, failures, determinism, devices and accumulation."""

import collections
import functools
import os
import signal
import threading

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.execution.conftest import (
    assert_close,
    batches,
    cohort,
    keras_model_fn,
    leaves,
    run_in,
)
from tff_nlp import errors
from tff_nlp.execution import forms, lane_runs, lanes, secure_sums, streaming

_INTS = tff.SequenceType(np.int32)
_modular_sum = tff.backends.mapreduce.federated_secure_modular_sum


@tff.tensorflow.computation(_INTS)
def _total(numbers):
    return numbers.reduce(0, lambda a, b: a + b)


@tff.tensorflow.computation(np.int32, np.int32)
def _plus(a, b):
    return a + b


@tff.federated_computation(
    tff.FederatedType(np.int32, tff.SERVER), tff.FederatedType(_INTS, tff.CLIENTS)
)
def add_up(state, numbers):
    """A round that adds all clients' numbers to the state."""
    total = tff.federated_sum(tff.federated_map(_total, numbers))
    return tff.federated_map(_plus, (state, total)), total


@functools.cache
def _fed_avg():
    return tff.learning.algorithms.build_weighted_fed_avg(
        keras_model_fn, tff.learning.optimizers.build_sgdm(0.1)
    )


@pytest.fixture(autouse=True)
def _streaming(context):
    with tff.framework.get_context_stack().install(context):
        yield


class TestSignatures:
    def test_server_and_clients(self):
        assert add_up(5, [[1, 2], [3]]) == (11, 6)

    def test_the_state_is_passed_on(self):
        state, _ = add_up(5, [[1]])
        assert add_up(state, [[1], [1]])[0] == 8

    def test_clients_only(self):
        @tff.federated_computation(tff.FederatedType(np.float32, tff.CLIENTS))
        def mean(values):
            return tff.federated_mean(values)

        assert mean([1.0, 2.0, 6.0]) == 3.0

    def test_several_client_arguments(self):
        clients = tff.FederatedType(np.float32, tff.CLIENTS)

        @tff.federated_computation(clients, tff.FederatedType(np.float32, tff.SERVER), clients)
        def weighted(values, offset, weights):
            return tff.federated_mean(values, weights), offset

        assert weighted([1.0, 5.0], 7.0, [3.0, 1.0]) == (2.0, 7.0)

    def test_a_model_and_data_to_metrics(self):
        evaluate = tff.learning.algorithms.build_fed_eval(keras_model_fn)
        state = evaluate.initialize()
        output = evaluate.next(state, list(cohort()))
        metrics = output.metrics["client_work"]["eval"]["current_round_metrics"]
        assert metrics["num_examples"] == 35

    def test_one_server_argument_of_many_parts_and_no_state_returned(self):
        @tff.tensorflow.computation(np.float32, np.float32)
        def scale(x, y):
            return x * y

        @tff.federated_computation(
            tff.FederatedType((np.float32, np.float32), tff.SERVER),
            tff.FederatedType(np.float32, tff.CLIENTS),
        )
        def scaled(pair, values):
            factors = tff.federated_broadcast(tff.federated_map(scale, pair))
            return tff.federated_sum(tff.federated_map(scale, (factors, values)))

        assert scaled((2.0, 3.0), [1.0, 1.0]) == 12.0

    def test_no_argument(self):
        @tff.federated_computation
        def three():
            return tff.federated_eval(tff.tensorflow.computation(lambda: 3), tff.SERVER)

        assert three() == 3

    def test_plain_tensorflow(self):
        assert _plus(2, 3) == 5
        assert [int(n) for n in _squares(4)] == [0, 1, 4, 9]

    def test_server_only(self, context, reference):
        @tff.federated_computation(tff.FederatedType((np.int32, np.int32), tff.SERVER))
        def plus(pair):
            return tff.federated_map(_plus, pair)

        context._worker = reference
        assert plus((2, 3)) == 5

    def test_no_client(self):
        assert add_up(5, []) == (5, 0)


@tff.tensorflow.computation(np.int64)
def _squares(count):
    return tf.data.Dataset.range(count).map(lambda n: n * n)


class TestArguments:
    def test_elements_of_a_list_may_be_dicts_lists_and_of_any_shape(self, context, reference):
        row = collections.OrderedDict(b=tff.TensorType(np.int32, [None]), a=(np.float32, np.str_))

        @tff.tensorflow.computation(tff.SequenceType(row))
        def length(rows):
            return rows.reduce(
                0, lambda n, row: n + tf.size(row["b"]) + tf.cast(row["a"][0], tf.int32)
            )

        @tff.federated_computation(tff.FederatedType(tff.SequenceType(row), tff.CLIENTS))
        def lengths(rows):
            return tff.federated_sum(tff.federated_map(length, rows))

        clients = [
            [{"a": (1.0, "x"), "b": [1, 2]}, collections.OrderedDict(b=[3], a=[2.0, "y"])],
            [],
        ]
        assert lengths(clients) == run_in(reference, lengths, clients) == 6

    def test_one_structured_argument_is_read_by_name(self):
        @tff.federated_computation(
            collections.OrderedDict(
                offset=tff.FederatedType(np.int32, tff.SERVER),
                numbers=tff.FederatedType(_INTS, tff.CLIENTS),
            )
        )
        def named(argument):
            return add_up(argument["offset"], argument["numbers"])

        assert named({"numbers": [[1, 2], [3]], "offset": 5}) == (11, 6)
        assert named(offset=5, numbers=[[1, 2], [3]]) == (11, 6)

    def test_values_of_different_numbers_of_clients(self):
        clients = tff.FederatedType(np.float32, tff.CLIENTS)

        @tff.federated_computation(clients, clients)
        def weighted(values, weights):
            return tff.federated_mean(values, weights)

        with pytest.raises(ValueError, match="values of 2, 3 clients"):
            weighted([1.0, 2.0], [1.0, 1.0, 1.0])
        with pytest.raises(TypeError, match="one value per client, found float"):
            weighted(1.0, [1.0])

    def test_one_value_for_all_clients(self, reference):
        @tff.federated_computation(
            tff.FederatedType(np.float32, tff.CLIENTS),
            tff.FederatedType(np.float32, tff.CLIENTS, all_equal=True),
        )
        def weighted(values, weight):
            return tff.federated_mean(values, weight)

        assert weighted([1.0, 2.0], 3.0) == run_in(reference, weighted, [1.0, 2.0], 3.0) == 1.5

    def test_lists_of_elements_are_data(self):
        evaluate = tff.learning.algorithms.build_fed_eval(keras_model_fn)
        state = evaluate.initialize()
        as_lists = [list(d.as_numpy_iterator()) for d in cohort()]
        assert_close(evaluate.next(state, as_lists), evaluate.next(state, list(cohort())), 0.0)

    @pytest.mark.parametrize(
        ("state", "clients", "message"),
        [
            (1.5, [[1]], "int32"),
            (2**40, [[1]], "1099511627776"),
            (np.int64(1), [[1]], "int64"),
            (tf.constant(1.0), [[1]], "float32"),
            (np.array([1, 2], np.int32), [[1]], r"shape \(2,\)"),
            ("x", [[1]], "'x'"),
            (1, [tf.data.Dataset.range(2)], "client 0.*int64"),
            (1, [[1], 7], "client 1.*int"),
            (1, 7, "list with one value per client"),
            (1, tf.data.Dataset.range(2), "list with one value per client"),
        ],
    )
    def test_wrong_types_are_type_errors(self, state, clients, message):
        with pytest.raises(TypeError, match=message):
            add_up(state, clients)

    def test_a_plain_dict_for_an_ordered_one(self):
        x = tf.zeros([2, 5])
        wrong = tf.data.Dataset.from_tensors({"x": x, "z": tf.zeros([2], tf.int32)})
        evaluate = tff.learning.algorithms.build_fed_eval(keras_model_fn)
        with pytest.raises(TypeError, match="client 0"):
            evaluate.next(evaluate.initialize(), [wrong])

    def test_a_state_with_other_parts(self):
        with pytest.raises(TypeError):
            _fed_avg().next(tff.structure.Struct([("x", 1)]), list(cohort()))


def _failing(position, after=1):
    """Client data with an element, `after`, that cannot be read."""

    def make(index, values):
        data = tf.data.Dataset.from_tensor_slices(tf.constant(values, tf.int32))
        if index != position:
            return data
        return (
            data.enumerate()
            .map(
                lambda i, v: (
                    tf.debugging.check_numerics(tf.where(i < after, 1.0, np.inf), "broken") * 0.0
                    + tf.cast(v, tf.float32)
                )
            )
            .map(lambda v: tf.cast(v, tf.int32))
        )

    return make


class TestFailures:
    VALUES = ([1, 2], [3, 4], [5, 6], [7, 8])

    def data(self, *positions):
        return [
            _failing(i if i in positions else None)(i, values)
            for i, values in enumerate(self.VALUES)
        ]

    def test_the_error_has_the_clients_position(self):
        with pytest.raises(lane_runs.ClientError, match="client 2 .*broken") as raised:
            add_up(0, self.data(2))
        assert raised.value.position == 2

    def test_the_context_works_after_an_error(self):
        with pytest.raises(lane_runs.ClientError):
            add_up(0, self.data(0, 1, 2, 3))
        assert add_up(0, self.data()) == (36, 36)

    def test_the_round_goes_on_without_a_failed_client(self, caplog):
        context = streaming.StreamingContext(["/CPU:0"] * 2, max_failed_clients=2)
        result = run_in(context, add_up, 0, self.data(1, 2))
        assert result == (18, 18)
        assert context.failed_clients == (1, 2)
        assert "client 1" in caplog.text
        assert run_in(context, add_up, 0, self.data()) == (36, 36)
        assert context.failed_clients == ()

    def test_more_failures_than_allowed_end_the_round(self):
        context = streaming.StreamingContext(["/CPU:0"] * 2, max_failed_clients=1)
        with pytest.raises(lane_runs.ClientError):
            run_in(context, add_up, 0, self.data(0, 1))

    @pytest.mark.slow
    def test_a_failed_client_does_not_change_a_training_round(self):
        context = streaming.StreamingContext(["/CPU:0"], max_failed_clients=1)
        process = _fed_avg()
        state = run_in(context, process.initialize)
        good = list(cohort())
        # The client fails at its last batch, after it has trained on the others.
        bad = batches(9, 12).map(_poisoned)
        with_it = run_in(context, process.next, state, [good[0], bad, *good[1:]])
        assert context.failed_clients == (1,)
        without = run_in(context, process.next, state, good)
        for a, b in zip(leaves(with_it), leaves(without), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_a_wrong_number_names_the_flag(self):
        with pytest.raises(errors.UserError, match="max_failed_clients=-1"):
            streaming.StreamingContext(max_failed_clients=-1)


def _poisoned(batch):
    bad = tf.reduce_sum(batch["x"]) * np.inf
    keep = tf.random.stateless_uniform([], [1, 2]) > 2.0
    with tf.control_dependencies([tf.debugging.assert_equal(keep, True, f"poison {bad.name}")]):
        return collections.OrderedDict(x=tf.identity(batch["x"]), y=batch["y"])


def _secure_round(secure_sum, dtype=np.int32):
    value_type = tff.TensorType(dtype, [2])

    @tff.federated_computation(
        tff.FederatedType(np.int32, tff.SERVER), tff.FederatedType(value_type, tff.CLIENTS)
    )
    def total(state, values):
        return state, secure_sum(values)

    return total


def _run_secure(total, *clients, dtype=np.int32, context=None):
    values = [np.array(c, dtype) for c in clients]
    return run_in(context, lambda: total(0, values)[1]) if context else total(0, values)[1]


class TestSecureSums:
    def test_bitwidth(self):
        total = _secure_round(lambda v: tff.federated_secure_sum_bitwidth(v, 3))
        assert list(_run_secure(total, [0, 7], [7, 7])) == [7, 14]

    @pytest.mark.parametrize("wrong", [8, -1])
    def test_bitwidth_exceeded(self, wrong):
        total = _secure_round(lambda v: tff.federated_secure_sum_bitwidth(v, 3))
        with pytest.raises(lane_runs.ClientError, match=f"0 to 7 got the input.*{wrong}") as raised:
            _run_secure(total, [0, 7], [0, wrong])
        assert raised.value.position == 1

    @pytest.mark.parametrize("wrong", [11, -1])
    def test_largest_input(self, wrong):
        total = _secure_round(lambda v: tff.federated_secure_sum(v, 10))
        assert list(_run_secure(total, [10, 1], [10, 2])) == [20, 3]
        with pytest.raises(lane_runs.ClientError, match=f"0 to 10 got the input.*{wrong}"):
            _run_secure(total, [wrong, 0])

    def test_modular_sums_wrap(self):
        total = _secure_round(lambda v: _modular_sum(v, 10))
        assert list(_run_secure(total, [9, 3], [9, 3], [9, 3])) == [7, 9]
        assert list(_run_secure(total, [-1, 12], [0, 0])) == [9, 2]

    def test_modular_sums_near_the_end_of_their_type(self):
        modulus = 2**31 - 1
        total = _secure_round(lambda v: _modular_sum(v, modulus))
        values = [modulus - 1, modulus - 2]
        assert list(_run_secure(total, values, values, values)) == [modulus - 3, modulus - 6]

    def test_modulus_of_64_bits(self):
        modulus = 2**62
        total = _secure_round(lambda v: _modular_sum(v, modulus), np.int64)
        values = [modulus - 1, 1]
        assert list(_run_secure(total, values, values, dtype=np.int64)) == [modulus - 2, 2]

    def test_a_client_out_of_range_is_left_out_entirely(self):
        @tff.federated_computation(
            tff.FederatedType(np.int32, tff.SERVER), tff.FederatedType(np.int32, tff.CLIENTS)
        )
        def both(state, values):
            return state, (tff.federated_sum(values), tff.federated_secure_sum(values, 10))

        context = streaming.StreamingContext(["/CPU:0"] * 2, max_failed_clients=1)
        assert run_in(context, both, 0, [1, 2, 30, 4]) == (0, (7, 7))
        assert context.failed_clients == (2,)

    def test_structures_with_limits_of_their_own(self):
        value_type = tff.to_type((np.int32, np.int64))

        @tff.federated_computation(
            tff.FederatedType(np.int32, tff.SERVER), tff.FederatedType(value_type, tff.CLIENTS)
        )
        def total(state, values):
            return state, tff.federated_secure_sum_bitwidth(values, (3, 40))

        assert total(0, [(7, 2**40 - 1), (1, 1)])[1] == (8, 2**40)
        with pytest.raises(lane_runs.ClientError, match="0 to 7"):
            total(0, [(8, 0)])

    def test_quantized_sums_are_near_the_plain_ones(self):
        spec = tff.TensorType(np.float32, [500])
        factory = tff.aggregators.SecureSumFactory(2.0, -2.0)
        process = factory.create(spec)
        rng = np.random.default_rng(0)
        values = [rng.uniform(-1.9, 1.9, 500).astype(np.float32) for _ in range(7)]
        output = process.next(process.initialize(), values)
        # 32-bit steps of a range of 4 for each of 7 clients, and float32 rounding of the sum.
        np.testing.assert_allclose(output.result, np.sum(values, axis=0), atol=7 * 4 / 2**32 + 1e-5)
        again = process.next(process.initialize(), values)
        np.testing.assert_array_equal(output.result, again.result)


def test_ctrl_c_stops_clients_in_the_middle():
    """The lanes are free afterwards. test_programs.py tests Ctrl-C in a whole program."""
    begun = threading.Event()

    def numbers():
        while True:
            begun.set()
            yield 1

    def interrupt():
        begun.wait()
        os.kill(os.getpid(), signal.SIGINT)

    endless = tf.data.Dataset.from_generator(numbers, output_types=tf.int32, output_shapes=[])
    # If a shell starts the tests in the background, they ignore the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            add_up(0, [endless] * 4)
    finally:
        signal.signal(signal.SIGINT, before)
    assert add_up(5, [[1, 2], [3]]) == (11, 6)


class TestDeterminism:
    @pytest.mark.thorough
    def test_the_same_devices_give_the_same_bits(self):
        process = _fed_avg()
        state = process.initialize()
        results = []
        for _ in range(2):
            context = streaming.StreamingContext(["/CPU:0"] * 3)
            first = run_in(context, process.next, state, list(cohort()))
            results.append(run_in(context, process.next, first.state, list(cohort())))
        for a, b in zip(*map(leaves, results), strict=True):
            np.testing.assert_array_equal(a, b)

    @pytest.mark.slow
    def test_the_number_of_lanes_changes_the_order_of_additions_only(self):
        process = _fed_avg()
        state = process.initialize()
        one = run_in(streaming.StreamingContext(["/CPU:0"]), process.next, state, list(cohort()))
        for count in (2, 7):
            context = streaming.StreamingContext(["/CPU:0"] * count)
            assert_close(run_in(context, process.next, state, list(cohort())), one, 1e-6)

    @pytest.mark.thorough
    def test_lanes_do_not_share_variables(self):
        # Twelve clients train different models at the same time, each in its own Keras variables.
        process = _fed_avg()
        data = [batches(s, 40, 2) for s in range(12)]
        state = process.initialize()
        results = [
            run_in(streaming.StreamingContext(["/CPU:0"] * n), process.next, state, data)
            for n in (1, 4)
        ]
        assert_close(*results, 1e-6)

    def test_clients_are_divided_by_cost(self):
        assert lane_runs.share([1, 1, 8, 1, 3, 3], 2) == [[2, 3], [0, 1, 4, 5]]
        assert lane_runs.share([], 2) == [[], []]


class TestAccumulation:
    @pytest.mark.thorough
    def test_a_token_embedding_is_added_by_rows_and_the_rest_in_place(self):
        from tests.learning.conftest import begin, tiny_classifier

        model = tiny_classifier()
        process, _ = begin(model)
        counts = _write_operations(forms.compile_round(process.next))
        assert counts["ResourceScatterAdd"] == 1
        assert counts["AssignVariableOp"] == 0
        # A read would keep the tensor in memory, so that TensorFlow copies it before it changes it.
        assert counts["ReadVariableOp"] == 0
        assert counts["AssignAddVariableOp"] >= len(model.trainable_names) - 1

    @pytest.mark.slow
    def test_clipped_updates_are_added_by_rows_and_give_the_same(self, monkeypatch, context):
        from tests.learning import conftest as berts
        from tff_nlp.learning.client_work import LocalWork
        from tff_nlp.privacy import clipped_mean, mechanism

        model = berts.tiny_classifier()
        weights = model.initial_weights()[0]
        least = weights[model.token_embedding].size
        large = sum(w.ndim == 2 and w.size >= least for w in weights)
        aggregator = mechanism.build_aggregator(
            mechanism.Mechanism("gaussian", 0.5, 4, clipping_norm=0.05)
        )
        released, scattered = [], []
        for threshold in (least, 2**40):
            monkeypatch.setattr(clipped_mean, "_LARGE_TABLE", threshold)
            with tff.framework.get_context_stack().install(context):
                process, state = berts.begin(
                    model, LocalWork(weighting="uniform"), aggregator=aggregator
                )
                key = np.arange(8, dtype=np.uint32)
                state = state._replace(aggregator=mechanism.with_key(state.aggregator, key))
                after = process.next(state, berts.cohort(model)).state
                weights = process.get_model_weights(after).trainable
            released.append([np.asarray(w) for w in weights])
            counts = _write_operations(forms.compile_round(process.next))
            scattered.append(counts["ResourceScatterAdd"])
        assert scattered == [large, 0]
        for one, other in zip(*released, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)

    @pytest.mark.parametrize(
        "dtype", [np.uint8, np.int8, np.uint16, np.int64, np.float16, np.float64, np.complex64]
    )
    def test_sums_of_every_type(self, reference, dtype):
        @tff.federated_computation(tff.FederatedType(tff.TensorType(dtype, [2]), tff.CLIENTS))
        def total(values):
            return tff.federated_sum(values)

        values = [np.array([1, 2], dtype), np.array([3, 4], dtype), np.array([5, 6], dtype)]
        assert_close(total(values), run_in(reference, total, values), 0.0)

    @pytest.mark.parametrize("lanes_", [1, 2, 3])
    def test_the_order_of_clients_is_kept_where_it_matters(self, reference, lanes_):
        joined = tff.TensorType(np.str_)
        join = tff.tensorflow.computation(lambda a, b: tf.strings.join([a, b]), (joined, joined))
        same = tff.tensorflow.computation(lambda a: a, joined)

        @tff.federated_computation(tff.FederatedType(_INTS, tff.CLIENTS))
        def text(numbers):
            as_text = tff.tensorflow.computation(
                lambda n: tf.strings.as_string(n.reduce(0, lambda a, b: a + b)), _INTS
            )
            texts = tff.federated_map(as_text, numbers)
            return tff.federated_aggregate(texts, "", join, join, same)

        # The longest client is in the middle. By cost it would be assigned first.
        clients = [[n] * (9 if n == 3 else 1) for n in range(1, 7)]
        context = streaming.StreamingContext(["/CPU:0"] * lanes_)
        assert run_in(context, text, clients) == run_in(reference, text, clients) == b"1227456"

    def test_an_accumulator_that_is_not_a_sum_is_written(self):
        @tff.tensorflow.computation(np.float32, np.float32)
        def larger(a, b):
            return tf.maximum(a, b)

        @tff.tensorflow.computation(np.float32)
        def same(a):
            return a

        @tff.federated_computation(tff.FederatedType(np.float32, tff.CLIENTS))
        def maximum(values):
            return tff.federated_aggregate(values, -1.0, larger, larger, same)

        assert maximum([1.0, 7.0, 3.0]) == 7.0
        assert maximum([-5.0, -7.0]) == -1.0

    def test_an_accumulator_that_counts_too(self):
        @tff.tensorflow.computation((np.float32, np.float32), np.float32)
        def accumulate(a, v):
            # The second sum reads the old value of the first sum.
            return a[0] + v, a[1] + a[0]

        @tff.tensorflow.computation((np.float32, np.float32), (np.float32, np.float32))
        def merge(a, b):
            return a[0] + b[0], a[1] + b[1]

        @tff.tensorflow.computation((np.float32, np.float32))
        def report(a):
            return a

        @tff.federated_computation(tff.FederatedType(np.float32, tff.CLIENTS))
        def sums(values):
            return tff.federated_aggregate(values, (0.0, 0.0), accumulate, merge, report)

        context = streaming.StreamingContext(["/CPU:0"])
        assert run_in(context, sums, [1.0, 2.0, 4.0]) == (7.0, 0.0 + 1.0 + 3.0)

    def test_strings_and_growing_accumulators(self):
        @tff.federated_computation(tff.FederatedType(np.str_, tff.CLIENTS))
        def collect(values):
            return tff.aggregators.federated_sample(values, 10)

        context = streaming.StreamingContext(["/CPU:0"] * 2)
        result = run_in(context, collect, ["a", "b", "c"])
        assert sorted(np.asarray(result).tolist()) == [b"a", b"b", b"c"]


class TestNothingIsDropped:
    """The in-place additions do not drop checks and weights."""

    def _sum_of(self, function, *types):
        computation = tff.tensorflow.computation(function, tff.to_type(types))

        @tff.federated_computation(tff.FederatedType(tff.to_type(types), tff.CLIENTS))
        def total(values):
            return tff.federated_sum(tff.federated_map(computation, values))

        return total

    def test_a_check_on_the_summand(self):
        def positive(x):
            with tf.control_dependencies([tf.debugging.assert_positive(x)]):
                return tf.identity(x)

        total = self._sum_of(lambda pair: positive(pair[0]), np.float32)
        assert total([(1.0,), (2.0,)]) == 3.0
        with pytest.raises(errors.RunError, match="client 1 .*assertion failed"):
            total([(1.0,), (-3.0,)])

    @pytest.mark.parametrize("place", ["table", "product", "rows"])
    def test_a_check_on_scattered_rows(self, place):
        def table(pair):
            rows, weight = pair
            check = [tf.debugging.assert_less(weight, 10.0)]

            def checked(tensor, here):
                with tf.control_dependencies(check if here == place else []):
                    return tf.identity(tensor)

            scattered = tf.scatter_nd([[1], [3]], checked(rows, "rows"), [5, 2])
            return checked(checked(scattered, "table") * weight, "product")

        total = self._sum_of(table, tff.TensorType(np.float32, [2, 2]), np.float32)
        counts = _write_operations(forms.compile_round(total))
        assert counts["ResourceScatterAdd"] == 1
        ones = np.ones([2, 2], np.float32)
        np.testing.assert_array_equal(total([(ones, 2.0), (ones, 1.0)])[[0, 1, 3]].sum(), 12.0)
        with pytest.raises(errors.RunError, match="client 0"):
            total([(ones, 11.0)])

    @pytest.mark.parametrize("weight", [np.nan, np.inf, 2.0])
    def test_a_weight_that_is_not_finite_changes_all_rows(self, reference, weight):
        def table(pair):
            return tf.scatter_nd([[1]], pair[0], [3, 2]) * pair[1]

        total = self._sum_of(table, tff.TensorType(np.float32, [1, 2]), np.float32)
        values = [(np.ones([1, 2], np.float32), weight)]
        expected = run_in(reference, total, values)
        np.testing.assert_array_equal(total(values), expected)
        assert np.isnan(expected[0, 0]) == (weight != 2.0)

    def test_a_row_outside_of_its_table_leaves_no_trace(self):
        @tff.tensorflow.computation(np.int32)
        def row(place):
            return tf.constant(1.0), tf.scatter_nd([[place]], [[1.0, 1.0]], [3, 2])

        @tff.federated_computation(tff.FederatedType(np.int32, tff.CLIENTS))
        def total(places):
            return tff.federated_sum(tff.federated_map(row, places))

        context = streaming.StreamingContext(["/CPU:0"], max_failed_clients=1)
        count, table = run_in(context, total, [0, 3, 2])
        assert context.failed_clients == (1,)
        assert count == 2.0
        np.testing.assert_array_equal(table, [[1, 1], [0, 0], [1, 1]])


def _write_operations(form):
    functions = lanes.build_functions(form, secure_sums.summands_of(form))
    graph_def = functions.run.traced.graph.as_graph_def()
    bodies = [graph_def.node, *(function.node_def for function in graph_def.library.function)]
    return collections.Counter(node.op for nodes in bodies for node in nodes)


class TestResourcesInFunctions:
    def test_lanes_do_not_share_them(self):
        @tf.function(autograph=False)
        def remember(value):
            handle = tf.raw_ops.VarHandleOp(dtype=tf.int32, shape=[], shared_name="memory")
            write = tf.raw_ops.AssignVariableOp(resource=handle, value=value)
            with tf.control_dependencies([write]):
                return tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.int32)

        @tff.tensorflow.computation(np.int32)
        def through_memory(value):
            return remember(value)

        @tff.federated_computation(tff.FederatedType(np.int32, tff.CLIENTS))
        def total(values):
            return tff.federated_sum(tff.federated_map(through_memory, values))

        two_lanes = streaming.StreamingContext(["/CPU:0"] * 2)
        assert run_in(two_lanes, total, [1, 2, 30, 4]) == 37
        form = forms.compile_round(total)
        names = [
            {f.signature.name for f in form.work.with_own_resources().graph_def.library.function}
            for _ in range(2)
        ]
        assert names[0]
        assert not names[0] & names[1]
