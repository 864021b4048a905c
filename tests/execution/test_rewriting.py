"""Rewritten graphs compute the same result with less work."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.execution import graphs, rewriting

WIDTH, HEIGHT = 3, 10


def norm_of_table(indices_of, first):
    """The norm of a scattered table and of another tensor."""

    @tff.tensorflow.computation(
        first, tff.TensorType(np.float32, [None, WIDTH]), tff.TensorType(np.float32, [5])
    )
    def norm(places, rows, other):
        table = tf.scatter_nd(indices_of(places), -rows, [HEIGHT, WIDTH])
        return tf.linalg.global_norm([tf.identity(table), other]), table

    return graphs.from_computation(norm)


def of_seen(seen):
    return tf.squeeze(tf.cast(tf.where(seen), tf.int32), axis=1)[:, tf.newaxis]


def of_cells(cells):
    return tf.cast(tf.where(cells), tf.int32)[:, :1]


def given(places):
    return places[:, tf.newaxis]


def norms_of_tables(graph):
    """Returns the L2Loss operations that still read the whole table."""
    nodes = {node.name: node for node in graph.graph_def.node}
    sources = [n.input[0].split(":")[0] for n in nodes.values() if n.op == "L2Loss"]
    return [s for s in sources if s in nodes and nodes[s].op in ("ScatterNd", "Identity")]


SEEN = np.isin(np.arange(HEIGHT), [1, 4, 7, 9])
TWICE = np.array([2, 2, 5, 5], np.int32)
CELLS = np.zeros([HEIGHT, 2], bool)
CELLS[[2, 2, 5, 5], [0, 1, 0, 1]] = True


@pytest.mark.parametrize(
    ("indices_of", "places", "rewritten"),
    [(of_seen, SEEN, True), (given, TWICE, False), (of_cells, CELLS, False)],
)
def test_only_distinct_rows_replace_the_table(indices_of, places, rewritten):
    generator = np.random.default_rng(1)
    rows = generator.standard_normal([4, WIDTH]).astype(np.float32)
    other = generator.standard_normal([5]).astype(np.float32)
    graph = norm_of_table(indices_of, tff.TensorType(places.dtype.type, places.shape))
    assert norms_of_tables(graph)
    changed = rewriting.with_norms_of_rows(graph)
    assert (not norms_of_tables(changed)) == rewritten
    results = [graphs.wrap(g)([places, rows, other]) for g in (graph, changed)]
    for before, after in zip(*results, strict=True):
        np.testing.assert_allclose(before, after, rtol=1e-6)
    table = np.zeros([HEIGHT, WIDTH])
    np.add.at(table, np.nonzero(places)[0] if places.dtype == bool else places, rows)
    expected = np.sqrt((table**2).sum() + (other.astype(float) ** 2).sum())
    np.testing.assert_allclose(results[1][0], expected, rtol=1e-6)


@pytest.mark.parametrize("place", ["rows", "identity"])
def test_the_norm_waits_for_what_the_table_waited_for(place):
    @tff.tensorflow.computation(
        tff.TensorType(np.bool_, [HEIGHT]), tff.TensorType(np.float32, [None, WIDTH])
    )
    def norm(seen, rows):
        places, check = of_seen(seen), [tf.debugging.assert_positive(rows)]
        with tf.control_dependencies(check if place == "rows" else []):
            table = tf.scatter_nd(places, 1.0 * rows, [HEIGHT, WIDTH])
        with tf.control_dependencies(check if place == "identity" else []):
            return tf.nn.l2_loss(tf.identity(table))

    changed = rewriting.with_norms_of_rows(graphs.from_computation(norm))
    assert not norms_of_tables(changed)
    run = graphs.wrap(changed)
    assert float(run([SEEN, np.ones([4, WIDTH], np.float32)])[0]) == 6.0
    with pytest.raises(tf.errors.InvalidArgumentError):
        run([SEEN, -np.ones([4, WIDTH], np.float32)])


@pytest.mark.parametrize("size", [HEIGHT + 1, None])
def test_rows_of_another_vector_do_not_replace_the_table(size):
    graph = norm_of_table(of_seen, tff.TensorType(np.bool_, [size]))
    assert rewriting.with_norms_of_rows(graph) is graph


def test_a_graph_without_norms_stays_as_it_is():
    @tff.tensorflow.computation(np.float32)
    def double(x):
        return 2 * x

    graph = graphs.from_computation(double)
    assert rewriting.with_norms_of_rows(graph) is graph
