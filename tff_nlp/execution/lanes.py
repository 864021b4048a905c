"""Lanes: each runs some clients of a cohort, one after another, into an accumulator of its own.

A client's work and its accumulation are one function. The accumulator stays in variables, and a
sum is added to it in place; where the summand is a scattered table of few rows (a token embedding
of which the client saw some hundred tokens), only those rows are touched. The floats added are
the same ones in the same order as TFF adds them.
"""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf

from tff_nlp.execution import forms, graphs, structures


@dataclasses.dataclass(frozen=True)
class Lane:
    """One accumulator and the functions that feed it; `build_lane` makes them."""

    device: str
    accumulator: tuple[tf.Variable, ...]
    _reset: graphs.FlatFunction
    _run: graphs.FlatFunction
    _merge: graphs.FlatFunction

    def reset(self) -> None:
        """Empties the accumulator."""
        with tf.device(self.device):
            self._reset(self._handles())

    def run(self, data: Sequence[tf.Tensor], broadcast: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Runs a client and adds its update to the accumulator.

        Args:
          data: The client's flattened data.
          broadcast: The flattened broadcast.

        Returns:
          The client's inputs to the secure sums, flattened.
        """
        with tf.device(self.device):
            return self._run([*data, *broadcast, *self._handles()])[1:]

    def merge(self, other: "Lane") -> None:
        """Adds another lane's accumulator to this one."""
        with tf.device(self.device):
            self._merge([*(tf.identity(v) for v in other.values()), *self._handles()])

    def values(self) -> list[tf.Tensor]:
        """Returns the accumulator."""
        return [v.read_value() for v in self.accumulator]

    def _handles(self) -> list[tf.Tensor]:
        return [v.handle for v in self.accumulator]


def build_lane(form: forms.RoundForm, device: str) -> Lane:
    """Builds a lane on a device."""
    specs = [graphs.tensor_spec(t) for t in structures.flatten_types(form.zero.result_type)]
    handle_specs = [tf.TensorSpec([], tf.resource) for _ in specs]
    work_specs = form.work.input_specs
    num_updates = len(form.accumulate.input_specs) - len(specs)

    def reset(*handles: tf.Tensor) -> graphs.Emplaced:
        zero = form.zero.emplace([])
        writes = [
            tf.raw_ops.AssignVariableOp(resource=handle, value=value)
            for handle, value in zip(handles, zero.outputs, strict=True)
        ]
        return graphs.Emplaced([_grouped(writes)], zero.initializers)

    def run(*arguments: tf.Tensor) -> graphs.Emplaced:
        inputs, handles = arguments[: len(work_specs)], arguments[len(work_specs) :]
        work = form.work.emplace(inputs)
        updates, secure = work.outputs[:num_updates], work.outputs[num_updates:]
        accumulated = _accumulate(form.accumulate, specs, handles, updates)
        return graphs.Emplaced(
            [*accumulated.outputs, *secure], [*work.initializers, *accumulated.initializers]
        )

    def merge(*arguments: tf.Tensor) -> graphs.Emplaced:
        return _accumulate(form.merge, specs, arguments[len(specs) :], arguments[: len(specs)])

    with tf.device(device):
        return Lane(
            device,
            tuple(_accumulator_variable(spec) for spec in specs),
            graphs.build_function(reset, handle_specs),
            graphs.build_function(run, [*work_specs, *handle_specs]),
            graphs.build_function(merge, [*specs, *handle_specs]),
        )


def _accumulator_variable(spec: tf.TensorSpec) -> tf.Variable:
    shape = [size or 0 for size in spec.shape]
    value = tf.fill(shape, "") if spec.dtype == tf.string else tf.zeros(shape, spec.dtype)
    return tf.Variable(value, trainable=False, shape=spec.shape)


def _grouped(operations: Sequence[tf.Operation | None]) -> tf.Tensor:
    with tf.control_dependencies([op for op in operations if op is not None]):
        return tf.constant(True)


def _accumulate(
    graph: graphs.Graph,
    specs: Sequence[tf.TensorSpec],
    handles: Sequence[tf.Tensor],
    values: Sequence[tf.Tensor],
) -> graphs.Emplaced:
    """Applies accumulate or merge to variables, in place where the graph only adds."""
    current = [
        tf.raw_ops.ReadVariableOp(resource=h, dtype=s.dtype)
        for h, s in zip(handles, specs, strict=True)
    ]
    for tensor, spec in zip(current, specs, strict=True):
        tensor.set_shape(spec.shape)
    emplaced = graph.emplace([*current, *values])
    results = emplaced.outputs
    summands = [_summand(r, c) for r, c in zip(results, current, strict=True)]
    # Nothing is written before everything is computed: a client that fails leaves no trace.
    needed = [r if s is None else s for r, s in zip(results, summands, strict=True)]
    scattered = [None if s is None else _scattered_rows(s) for s in summands]
    waits = [
        part
        for tensor, rows in zip(needed, scattered, strict=True)
        for part in ([tensor] if rows is None else rows)
    ]
    with tf.control_dependencies(waits):
        writes = []
        for handle, result, summand, rows in zip(
            handles, results, summands, scattered, strict=True
        ):
            if rows is not None:
                writes.append(
                    tf.raw_ops.ResourceScatterAdd(resource=handle, indices=rows[0], updates=rows[1])
                )
            elif summand is not None:
                writes.append(tf.raw_ops.AssignAddVariableOp(resource=handle, value=summand))
            else:
                writes.append(tf.raw_ops.AssignVariableOp(resource=handle, value=result))
        return graphs.Emplaced([_grouped(writes)], emplaced.initializers)


def _source(tensor: tf.Tensor) -> tf.Tensor:
    """Looks through identities."""
    while tensor.op.type in ("Identity", "Snapshot"):
        tensor = tensor.op.inputs[0]
    return tensor


def _summand(result: tf.Tensor, accumulator: tf.Tensor) -> tf.Tensor | None:
    """Returns what is added if the result is the accumulator plus something, else None."""
    result = _source(result)
    if result.op.type not in ("Add", "AddV2"):
        return None
    left, right = (_source(i) for i in result.op.inputs)
    for one, other in ((left, right), (right, left)):
        if one is accumulator and other is not accumulator and other.shape == accumulator.shape:
            return other
    return None


def _scattered_rows(summand: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor] | None:
    """Returns indices and rows if the summand is a matrix of zeros but for some rows, else None.

    A scalar that multiplies the matrix (a client's weight) multiplies the rows instead.
    """
    tensor, factor = _source(summand), None
    if tensor.op.type == "Mul":
        left, right = (_source(i) for i in tensor.op.inputs)
        if left.shape.rank == 0:
            left, right = right, left
        if right.shape.rank != 0:
            return None
        tensor, factor = left, right
    if tensor.op.type != "ScatterNd" or tensor.shape.rank != 2:
        return None
    indices, rows = tensor.op.inputs[:2]
    if indices.shape.rank != 2 or indices.shape[1] != 1:
        return None
    return tf.squeeze(indices, axis=1), rows if factor is None else rows * factor
