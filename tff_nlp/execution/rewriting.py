"""Changes to a client's graph that give the same numbers with less work."""

import dataclasses
from collections.abc import Iterable

import tensorflow as tf

from tff_nlp.execution import graphs

_IDENTITIES = ("Identity", "Snapshot")
# None of these repeats an element of its first input.
_KEEPS_DISTINCT = (*_IDENTITIES, "Cast", "ExpandDims", "Reshape", "Squeeze", "StridedSlice")
_PREFIX = f"{graphs.SCOPE}/"


def with_norms_of_rows(graph: graphs.Graph) -> graphs.Graph:
    """Takes the norm of a table that is zero but for some rows from these rows.

    Clipping asks for the norm of a whole update, and a token embedding's is dense only for the
    norm's sake: its few rows are what is added to the accumulator. The sum of squares differs by
    the order of its additions.
    """
    operations = {node.op for node in graph.graph_def.node}
    if not {"L2Loss", "ScatterNd", "Where"} <= operations:
        return graph
    found = _rows_of_norms(graph)
    if not found:
        return graph
    changed = tf.compat.v1.GraphDef()
    changed.CopyFrom(graph.graph_def)
    for node in changed.node:
        if node.name in found:
            node.input[0] = found[node.name]
    return dataclasses.replace(graph, graph_def=changed)


def source(tensor: tf.Tensor) -> tf.Tensor:
    """Looks through identities."""
    return _through(tensor, _IDENTITIES)


def _rows_of_norms(graph: graphs.Graph) -> dict[str, str]:
    """Returns for L2Loss operations, by name, the name of the tensor that holds the rows."""
    found = {}
    # Imported for the shapes, which a GraphDef does not have.
    with tf.Graph().as_default() as imported:
        graph.emplace([tf.compat.v1.placeholder(s.dtype, s.shape) for s in graph.input_specs])
        for operation in imported.get_operations():
            if operation.type != "L2Loss":
                continue
            table = source(operation.inputs[0]).op
            if table.type != "ScatterNd" or not _are_distinct(table.inputs[0]):
                continue
            rows = table.inputs[1]
            if rows.name.startswith(_PREFIX):
                found[operation.name.removeprefix(_PREFIX)] = rows.name.removeprefix(_PREFIX)
    return found


def _are_distinct(indices: tf.Tensor) -> bool:
    """Whether indices into the rows of a table are places of a vector, each at most once."""
    if indices.shape.rank != 2 or indices.shape[1] != 1:
        return False
    origin = _through(indices, _KEEPS_DISTINCT).op
    return origin.type == "Where" and origin.inputs[0].shape.rank == 1


def _through(tensor: tf.Tensor, kinds: Iterable[str]) -> tf.Tensor:
    while tensor.op.type in kinds:
        tensor = tensor.op.inputs[0]
    return tensor
