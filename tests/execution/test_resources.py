"""Variables and tables of a computation are new at each run."""

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tests.execution.conftest import assert_close, run_in
from tff_nlp.execution import graphs, streaming

WORDS = tff.TensorType(np.str_, [None])


@tff.tensorflow.computation(np.float32)
def _counter_from(start):
    variable = tf.Variable(start)
    other = tf.Variable(start * 2.0)
    with tf.control_dependencies([variable.assign_add(1.0), other.assign_add(10.0)]):
        return variable.read_value(), other.read_value()


@tff.tensorflow.computation(WORDS, np.str_)
def _place_of(words, word):
    values = tf.range(tf.shape(words)[0])
    initializer = tf.lookup.KeyValueTensorInitializer(words, values)
    return tf.lookup.StaticHashTable(initializer, -1).lookup(word)


@tff.tensorflow.computation(WORDS)
def _counts(words):
    table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, 0)
    with tf.control_dependencies([table.insert(words, tf.ones_like(words, tf.int64))]):
        return table.size()


@tff.tensorflow.computation(tff.SequenceType(np.str_))
def _ids(words):
    table = tf.lookup.StaticVocabularyTable(
        tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.constant([0, 1], tf.int64)), 1
    )
    return words.map(table.lookup)


def _same(context, reference, computation, *arguments):
    ours = run_in(context, computation, *arguments)
    assert_close(ours, run_in(reference, computation, *arguments), 0.0)


def test_each_run_begins_anew(context, reference):
    for start in (2.0, 7.0):
        _same(context, reference, _counter_from, start)
    for words in (["a", "b"], ["b", "a", "c"]):
        _same(context, reference, _place_of, words, "a")
        _same(context, reference, _counts, words)
    _same(context, reference, _ids, ["b", "z", "a"])


def test_clients_and_lanes_do_not_share_them(reference):
    @tff.federated_computation(tff.FederatedType(np.float32, tff.CLIENTS))
    def total(starts):
        return tff.federated_sum(tff.federated_map(_counter_from, starts))

    @tff.federated_computation(
        tff.FederatedType(WORDS, tff.CLIENTS), tff.FederatedType(np.str_, tff.SERVER)
    )
    def places(words, word):
        return tff.federated_map(_place_of, (words, tff.federated_broadcast(word)))

    context = streaming.StreamingContext(["/CPU:0"] * 2)
    _same(context, reference, total, [1.0, 2.0, 3.0, 4.0])
    _same(context, reference, places, [["a"], ["b", "a"], ["c"]], "a")


def test_an_accumulator_may_have_a_variable(reference):
    @tff.tensorflow.computation(np.float32, np.float32)
    def add(total, value):
        variable = tf.Variable(total)
        with tf.control_dependencies([variable.assign_add(value)]):
            return variable.read_value()

    same = tff.tensorflow.computation(lambda x: x, np.float32)

    @tff.federated_computation(tff.FederatedType(np.float32, tff.CLIENTS))
    def total(values):
        return tff.federated_aggregate(values, 0.0, add, add, same)

    context = streaming.StreamingContext(["/CPU:0"] * 2)
    _same(context, reference, total, [1.0, 2.0, 4.0])


def test_variables_end_with_the_run():
    graph = graphs.from_computation(_counter_from)
    assert len(graph.variables) == 2
    assert not graph.has_resources
    run = graphs.wrap(graph)
    ends = [op for op in run.traced.graph.get_operations() if op.type == "DestroyResourceOp"]
    assert len(ends) == 2
    np.testing.assert_array_equal(run([tf.constant(3.0)]), [4.0, 16.0])


def test_a_function_that_reads_no_argument_waits_for_its_variable():
    """TensorFlow inlines the call, but its variable must still be initialized in every run."""

    @tff.tensorflow.computation(np.float32)
    def scaled(x):
        rates = [tf.Variable(2.0) for _ in range(8)]

        @tf.function(autograph=False)
        def scale(x):
            return [x * rate for rate in rates]

        return scale(x)

    run = graphs.wrap(graphs.from_computation(scaled))
    for _ in range(100):
        np.testing.assert_array_equal(run([tf.constant(3.0)]), [6.0] * 8)
