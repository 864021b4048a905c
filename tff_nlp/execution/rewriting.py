"""Changes to a client's graph that give the same result with less work."""

import dataclasses
from collections.abc import Iterable

import tensorflow as tf

from tff_nlp.execution import graphs

_IDENTITIES = ("Identity", "Snapshot")
# Operations that never repeat an element of their first input.
_KEEPS_DISTINCT = (*_IDENTITIES, "Cast", "ExpandDims", "Reshape", "Squeeze", "StridedSlice")
_PREFIX = f"{graphs.SCOPE}/"


def with_norms_of_rows(graph: graphs.Graph) -> graphs.Graph:
    """Computes the norm of a table that is zero except for some rows from these rows alone.

    Clipping needs the norm of the whole update. Without this change, the update of a token
    embedding is built as a dense table only for its norm, because only its few rows are added to
    the accumulator. The norm may differ by rounding, because the squares are added in another
    order. Operations that the table waited for (an assertion), the norm waits for, too.
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
            node.input[0], *waits = found[node.name]
            node.input.extend(f"^{name}" for name in waits)
    return dataclasses.replace(graph, graph_def=changed)


def source(tensor: tf.Tensor, waits: list[tf.Operation]) -> tf.Tensor:
    """Skips identity operations and returns the tensor that they copy.

    Args:
      tensor: A tensor of a graph.
      waits: List to which the function appends the operations that the skipped identities wait for.
        Users of the returned tensor must wait for these operations.
    """
    return _through(tensor, _IDENTITIES, waits)


def _rows_of_norms(graph: graphs.Graph) -> dict[str, list[str]]:
    """Returns the L2Loss operations that can read rows in place of a table.

    Returns:
      The name of each operation -> the name of the tensor that holds the rows, followed by the
      names of the operations to wait for.
    """
    found = {}
    # The import gives the shapes, which a GraphDef does not have.
    with tf.Graph().as_default() as imported:
        graph.emplace([tf.compat.v1.placeholder(s.dtype, s.shape) for s in graph.input_specs])
        for operation in imported.get_operations():
            if operation.type != "L2Loss":
                continue
            waits: list[tf.Operation] = []
            table = source(operation.inputs[0], waits).op
            if table.type != "ScatterNd" or not are_places(table):
                continue
            names = [table.inputs[1].name]
            names += [op.name for op in (*waits, *table.control_inputs)]
            if all(name.startswith(_PREFIX) for name in (operation.name, *names)):
                own = [name.removeprefix(_PREFIX) for name in names]
                found[operation.name.removeprefix(_PREFIX)] = own
    return found


def are_places(table: tf.Operation) -> bool:
    """Whether the row numbers of a ScatterNd table are all distinct and inside of the table.

    This is known if they come from a `Where` over a vector with one entry per row of the table.
    Only then the norm of the rows equals the norm of the table, and writing the rows cannot fail.
    """
    indices, _, _ = table.inputs
    shape = table.outputs[0].shape
    if indices.shape.rank != 2 or indices.shape[1] != 1 or not shape.rank:
        return False
    waits: list[tf.Operation] = []
    origin = _through(indices, _KEEPS_DISTINCT, waits).op
    if origin.type != "Where" or waits or origin.control_inputs:
        return False
    mask = origin.inputs[0]
    return mask.shape.rank == 1 and mask.shape[0] is not None and mask.shape[0] == shape[0]


def _through(tensor: tf.Tensor, kinds: Iterable[str], waits: list[tf.Operation]) -> tf.Tensor:
    while tensor.op.type in kinds:
        # A cast to fewer bits may make two distinct row numbers equal.
        if tensor.op.type == "Cast" and tensor.dtype not in (tf.int32, tf.int64):
            break
        waits += tensor.op.control_inputs
        tensor = tensor.op.inputs[0]
    return tensor
