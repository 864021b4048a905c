"""Computations of several phases give the same values as TFF's worker, in this process."""

import collections
import logging

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.execution.conftest import assert_close, run_in
from tff_nlp.execution import interpreter, streaming

FLOATS = tff.FederatedType(np.float32, tff.CLIENTS)
INTS = tff.FederatedType(np.int32, tff.CLIENTS)


@tff.tensorflow.computation(np.float32, np.float32)
def _minus(a, b):
    return a - b


@tff.tensorflow.computation(np.int32, np.int32)
def _plus(a, b):
    return a + b


@tff.tensorflow.computation(np.int32, np.int32)
def _twice_and(a, b):
    return 2 * a + b


@tff.federated_computation(FLOATS, tff.FederatedType(np.float32, tff.SERVER))
def _spread(values, offset):
    """The sum of the squared distances from the mean, the distances, and the inputs."""
    mean = tff.federated_mean(values)
    distances = tff.federated_map(_minus, (values, tff.federated_broadcast(mean)))
    square = tff.tensorflow.computation(lambda x: x * x, np.float32)
    return tff.federated_sum(tff.federated_map(square, distances)), (distances, offset), mean


@tff.federated_computation(INTS)
def _two_secure_sums(values):
    first = tff.federated_secure_sum_bitwidth(values, 8)
    shifted = tff.federated_map(_plus, (values, tff.federated_broadcast(first)))
    return first, tff.federated_secure_sum(shifted, 1000)


@tff.federated_computation(
    tff.FederatedType(tff.TensorType(np.str_, [None]), tff.SERVER),
    tff.FederatedType(tff.TensorType(np.int32, [2]), tff.CLIENTS),
)
def _select(words, keys):
    words_type = tff.TensorType(np.str_, [None])
    gather = tff.tensorflow.computation(lambda w, key: tf.gather(w, key), (words_type, np.int32))
    return tff.federated_select(keys, tff.federated_value(3, tff.SERVER), words, gather)


@tff.federated_computation(tff.SequenceType(np.int32))
def _fold(numbers):
    return tff.sequence_reduce(numbers, 0, _twice_and)


@tff.federated_computation(
    tff.SequenceType(collections.OrderedDict(b=np.float32, a=np.int32)), tff.SequenceType(np.int32)
)
def _mapped(pairs, numbers):
    pair = collections.OrderedDict(b=np.float32, a=np.int32)

    @tff.tensorflow.computation(pair)
    def swap(pair):
        return collections.OrderedDict(d=pair["a"] + 1, c=pair["b"])

    return tff.sequence_map(swap, pairs), tff.sequence_sum(numbers)


@tff.federated_computation((np.int32, np.int32))
def _unplaced(pair):
    return pair[1], _plus(pair[0], 10)


@tff.federated_computation(tff.FederatedType(tff.SequenceType(np.int32), tff.CLIENTS))
def _joined(numbers):
    """All clients' data sets joined into one. The accumulator is a data set."""
    sequence = tff.SequenceType(np.int32)

    @tff.tensorflow.computation
    def nothing():
        return tf.data.Dataset.from_tensor_slices(np.zeros([0], np.int32))

    @tff.tensorflow.computation(sequence, sequence)
    def join(one, other):
        return one.concatenate(other)

    same = tff.tensorflow.computation(lambda numbers: numbers, sequence)
    return tff.federated_aggregate(numbers, nothing(), join, join, same)


@pytest.mark.parametrize(
    ("computation", "arguments"),
    [
        (_spread, ([1.0, 2.0, 6.0], 5.0)),
        (_two_secure_sums, ([1, 2, 6],)),
        (_select, (["a", "b", "c"], [[0, 2], [1, 1]])),
        (_fold, ([1, 2, 3],)),
        (_unplaced, ((3, 4),)),
        (_joined, ([[1, 2], [], [3]],)),
    ],
)
def test_the_same_as_tffs_worker(reference, computation, arguments):
    context = streaming.StreamingContext(["/CPU:0"] * 2)
    ours = run_in(context, computation, *arguments)
    assert_close(ours, run_in(reference, computation, *arguments), 1e-6)
    assert context._worker is None


def test_sequences_are_mapped_with_names_in_any_order(context):
    # TFF's worker cannot return a mapped sequence.
    mapped, total = run_in(context, _mapped, [{"a": 2, "b": 0.5}, {"b": 1.5, "a": 3}], [1, 2])
    assert [(int(e["d"]), float(e["c"])) for e in mapped] == [(3, 0.5), (4, 1.5)]
    assert total == 3


def test_a_log_line_says_that_steps_are_run(context, caplog):
    with caplog.at_level(logging.INFO, logger="tff_nlp.execution.form_context"):
        fresh = streaming.StreamingContext(["/CPU:0"])
        run_in(fresh, _spread, [1.0, 2.0], 0.0)
    assert "it runs step by step" in caplog.text
    assert fresh.form(_spread) is None


def test_secure_sums_of_two_phases_keep_their_ranges_and_may_be_masked():
    masked = []

    class Summation:
        def __init__(self, clients, vectors):
            self._sums, self._moduli = None, [modulus for _, modulus in vectors]
            masked.append(len(clients))

        def add_input(self, client, tensors):
            columns = zip(self._sums or [0] * len(tensors), tensors, strict=True)
            self._sums = [total + tensor for total, tensor in columns]

        def finish(self):
            return [t % m for t, m in zip(self._sums, self._moduli, strict=True)]

    context = streaming.StreamingContext(["/CPU:0"], protocols=Summation)
    assert run_in(context, _two_secure_sums, [1, 2, 6]) == (9, 36)
    assert masked == [3, 3]
    with pytest.raises(tf.errors.InvalidArgumentError, match="integers from 0 to 255 got the"):
        run_in(context, _two_secure_sums, [1, 256])


def test_a_random_number_is_drawn_once_and_used_twice(context):
    draw = tff.tensorflow.computation(lambda: tf.random.uniform([]))

    @tff.federated_computation
    def same_twice():
        value = draw()
        return value, value, draw()

    one, same, other = run_in(context, same_twice)
    assert one == same != other


def test_other_local_computations_than_tensorflow_are_refused():
    @tff.jax.computation(np.float32)
    def double(x):
        return 2 * x

    @tff.federated_computation(np.float32)
    def call(x):
        return double(x)

    with pytest.raises(interpreter.UnsupportedError, match="not TensorFlow"):
        interpreter.Interpreter(call, lambda function, values: list(map(function, values)))
