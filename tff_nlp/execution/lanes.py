"""Lanes: each lane runs some clients of a cohort, one after another, and sums their updates.

One TensorFlow function does a client's work and adds its update to the lane's accumulator. The
accumulator stays in variables, and updates are added in place. If an update is a table that is zero
except for a few rows (a token embedding, when the client saw a few hundred tokens), only those rows
are changed. The same floats are added in the same order as in TFF.
"""

import dataclasses
from collections.abc import Callable, Sequence

import tensorflow as tf
from tensorflow.python.eager import cancellation

from tff_nlp.execution import forms, graphs, rewriting, secure_sums, structures


@dataclasses.dataclass(frozen=True)
class LaneFunctions:
    """The functions of a lane. Their last arguments are the resource handles of its accumulator.

    Attributes:
      specs: Specs of the accumulator.
      reset: (handles) -> nothing. Empties the accumulator.
      run: (client data, broadcast, handles) -> the client's inputs to the secure sums, followed by
        its results that are placed at clients. Adds the client's update to the accumulator.
      merge: (another lane's accumulator, handles) -> nothing. Adds the other accumulator.
    """

    specs: tuple[tf.TensorSpec, ...]
    reset: graphs.FlatFunction
    run: graphs.FlatFunction
    merge: graphs.FlatFunction


@dataclasses.dataclass(frozen=True)
class Lane:
    """An accumulator on a device, and the functions that add to it.

    Attributes:
      device: The name of the device.
      accumulator: The variables that hold the accumulator.
      functions: The functions that change the accumulator.
      value_sizes: Number of tensors of each result that is placed at clients.
    """

    device: str
    accumulator: tuple[tf.Variable, ...]
    functions: LaneFunctions
    value_sizes: tuple[int, ...]

    def place(self, broadcast: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Copies the broadcast to this lane's device, so that it is copied only once per round."""
        with tf.device(self.device):
            return [tf.identity(t) if t.dtype.is_floating else t for t in broadcast]

    def reset(self) -> None:
        """Empties the accumulator."""
        with tf.device(self.device):
            self.functions.reset(self._handles())

    def run(
        self,
        data: Sequence[tf.Tensor],
        broadcast: Sequence[tf.Tensor],
        stop: cancellation.CancellationManager,
    ) -> list[tf.Tensor]:
        """Runs a client and adds its update to the accumulator.

        Args:
          data: The client's flattened data.
          broadcast: The flattened broadcast.
          stop: Cancellation manager. Cancelling it stops the client in the middle.

        Returns:
          The client's flattened inputs to the secure sums, followed by its results that are placed
          at clients.
        """
        with tf.device(self.device):
            return self.functions.run([*data, *broadcast, *self._handles()], stop)[1:]

    def merge(self, other: "Lane") -> None:
        """Adds another lane's accumulator to this one."""
        with tf.device(self.device):
            self.functions.merge([*(tf.identity(v) for v in other.values()), *self._handles()])

    def values(self) -> list[tf.Tensor]:
        """Returns the accumulator."""
        return [v.read_value() for v in self.accumulator]

    def _handles(self) -> list[tf.Tensor]:
        return [v.handle for v in self.accumulator]


def build_lanes(
    form: forms.RoundForm, summands: Sequence[secure_sums.Summand], devices: Sequence[str]
) -> list[Lane]:
    """Builds one lane per device.

    Graphs without shared variables or tables are traced once for all lanes.

    Args:
      form: The compiled round.
      summands: The secure sums of the round.
      devices: TensorFlow device names.
    """
    alone = form.work.has_resources or form.accumulate.has_resources or form.merge.has_resources
    shared = None if alone else build_functions(form, summands)
    lanes = []
    for device in devices:
        functions = shared or build_functions(form, summands)
        with tf.device(device):
            variables = tuple(_accumulator_variable(spec) for spec in functions.specs)
        sizes = tuple(len(places) for places in form.client_values)
        lanes.append(Lane(device, variables, functions, sizes))
    return lanes


def build_functions(
    form: forms.RoundForm, summands: Sequence[secure_sums.Summand]
) -> LaneFunctions:
    """Traces the functions of a lane."""
    specs = [graphs.tensor_spec(t) for t in structures.flatten_types(form.accumulator_type)]
    handle_specs = [tf.TensorSpec([], tf.resource) for _ in specs]
    zero, work, accumulate, merge = (
        graph.with_own_resources()
        for graph in (
            form.zero,
            rewriting.with_norms_of_rows(form.work),
            form.accumulate,
            form.merge,
        )
    )
    work_specs = work.input_specs
    num_updates = len(accumulate.input_specs) - len(specs)

    def run_reset(*handles: tf.Tensor) -> list[tf.Tensor]:
        writes = [
            tf.raw_ops.AssignVariableOp(resource=handle, value=value)
            for handle, value in zip(handles, zero.emplace([]), strict=True)
        ]
        return [_grouped(writes)]

    def run_client(*arguments: tf.Tensor) -> list[tf.Tensor]:
        inputs, handles = arguments[: len(work_specs)], arguments[len(work_specs) :]
        results = work.emplace(inputs)
        updates, secure = results[:num_updates], results[num_updates:]
        checks = [op for s, t in zip(summands, secure, strict=True) for op in s.check(t)]
        written = _accumulate(accumulate, specs, handles, updates, [*secure, *checks])
        values = [updates[place] for places in form.client_values for place in places]
        return [written, *secure, *values]

    def run_merge(*arguments: tf.Tensor) -> list[tf.Tensor]:
        values, handles = arguments[: len(specs)], arguments[len(specs) :]
        return [_accumulate(merge, specs, handles, values)]

    return LaneFunctions(
        tuple(specs),
        graphs.build_function(run_reset, handle_specs),
        graphs.build_function(run_client, [*work_specs, *handle_specs]),
        graphs.build_function(run_merge, [*specs, *handle_specs]),
    )


def _accumulator_variable(spec: tf.TensorSpec) -> tf.Variable:
    shape = [size or 0 for size in spec.shape]
    value = tf.fill(shape, "") if spec.dtype == tf.string else tf.zeros(shape, spec.dtype)
    return tf.Variable(value, trainable=False, shape=spec.shape)


def _grouped(operations: Sequence[tf.Operation | tf.Tensor | None]) -> tf.Tensor:
    with tf.control_dependencies([op for op in operations if op is not None]):
        return tf.constant(True)


def _accumulate(
    graph: graphs.Graph,
    specs: Sequence[tf.TensorSpec],
    handles: Sequence[tf.Tensor],
    values: Sequence[tf.Tensor],
    first: Sequence[tf.Tensor | tf.Operation] = (),
) -> tf.Tensor:
    """Applies `accumulate` or `merge` to variables. It adds in place if the graph only adds.

    Args:
      graph: (accumulator, values) -> new accumulator.
      specs: Specs of the accumulator.
      handles: Handles of the variables that hold the accumulator.
      values: The second argument of the graph.
      first: Other tensors and operations that must be computed before anything is written.

    Returns:
      A tensor that is ready when everything is written.
    """
    current = [
        _read(handle, spec) if reads else _placeholder(spec)
        for handle, spec, reads in zip(handles, specs, _reads(graph, specs), strict=True)
    ]
    results = graph.emplace([*current, *values])
    additions = [_addition(r, c) for r, c in zip(results, current, strict=True)]
    waits = [part for r, a in zip(results, additions, strict=True) for part in _needs(r, a)]
    # Nothing is written before everything is computed, so a failed client changes nothing.
    with tf.control_dependencies([*waits, *first]):
        return _grouped(
            [
                tf.raw_ops.AssignVariableOp(resource=handle, value=result)
                if addition is None
                else addition.write(handle)
                for handle, result, addition in zip(handles, results, additions, strict=True)
            ]
        )


def adds_only(form: forms.RoundForm) -> bool:
    """Whether the order of a round's clients changes the result by rounding only."""
    return all(_adds_only(graph, form) for graph in (form.accumulate, form.merge))


def _adds_only(graph: graphs.Graph, form: forms.RoundForm) -> bool:
    count = len(list(structures.flatten_types(form.accumulator_type)))
    with tf.Graph().as_default():
        inputs = [_placeholder(spec) for spec in graph.input_specs]
        results = graph.emplace(inputs)
        pairs = list(zip(results, inputs[:count], strict=True))
        return all(rewriting.source(r, []) is i or _addition(r, i) is not None for r, i in pairs)


def _reads(graph: graphs.Graph, specs: Sequence[tf.TensorSpec]) -> list[bool]:
    """Returns, for each tensor of the accumulator, whether the addition must read its value.

    Reading a variable keeps its value in memory, and TensorFlow then copies the variable before it
    changes it.
    """
    with tf.Graph().as_default():
        inputs = [_placeholder(spec) for spec in graph.input_specs]
        current = inputs[: len(specs)]
        results = graph.emplace(inputs)
        additions = [_addition(r, c) for r, c in zip(results, current, strict=True)]
        needs = [part for r, a in zip(results, additions, strict=True) for part in _needs(r, a)]
        pending = [part.op if isinstance(part, tf.Tensor) else part for part in needs]
        upstream: set[tf.Operation] = set()
        while pending:
            operation = pending.pop()
            if operation not in upstream:
                upstream.add(operation)
                pending.extend(operation.control_inputs)
                pending.extend(i.op for i in operation.inputs)
        return [tensor.op in upstream for tensor in current]


def _read(handle: tf.Tensor, spec: tf.TensorSpec) -> tf.Tensor:
    tensor = tf.raw_ops.ReadVariableOp(resource=handle, dtype=spec.dtype)
    tensor.set_shape(spec.shape)
    return tensor


def _placeholder(spec: tf.TensorSpec) -> tf.Tensor:
    return tf.compat.v1.placeholder(spec.dtype, spec.shape)


@dataclasses.dataclass(frozen=True)
class _Rows:
    """A matrix that is zero except for some rows.

    Attributes:
      indices: Row numbers of the rows, int[n].
      rows: The rows, [n, columns].
      factor: A scalar that multiplies the matrix, or None.
      shape: Shape of the matrix.
    """

    indices: tf.Tensor
    rows: tf.Tensor
    factor: tf.Tensor | None
    shape: tf.TensorShape

    def checks(self) -> list[tf.Operation]:
        """Returns an operation that fails if a row number is outside of the matrix."""
        inside = (self.indices >= 0) & (self.indices < tf.cast(self.shape[0], self.indices.dtype))
        return [tf.debugging.Assert(tf.reduce_all(inside), ["a row outside of its table"])]

    def write(self, handle: tf.Tensor) -> tf.Operation | tf.Tensor:
        """Adds the matrix to a variable. Only the given rows of the variable are changed."""
        if self.factor is None:
            return self._scatter(handle, self.rows)
        if not self.factor.dtype.is_floating:
            return self._scatter(handle, self.rows * self.factor)
        # Zero times NaN or infinity is not zero, so then all rows change.
        return tf.cond(
            tf.math.is_finite(self.factor), self._writes_rows(handle), self._fills(handle)
        )

    def _writes_rows(self, handle: tf.Tensor) -> Callable[[], tf.Tensor]:
        def write() -> tf.Tensor:
            return _grouped([self._scatter(handle, self.rows * self.factor)])

        return write

    def _fills(self, handle: tf.Tensor) -> Callable[[], tf.Tensor]:
        def write() -> tf.Tensor:
            places = tf.expand_dims(self.indices, 1)
            shape = tf.constant(self.shape.as_list(), self.indices.dtype)
            matrix = tf.scatter_nd(places, self.rows, shape) * self.factor
            return _grouped([tf.raw_ops.AssignAddVariableOp(resource=handle, value=matrix)])

        return write

    def _scatter(self, handle: tf.Tensor, rows: tf.Tensor) -> tf.Operation:
        return tf.raw_ops.ResourceScatterAdd(resource=handle, indices=self.indices, updates=rows)


@dataclasses.dataclass(frozen=True)
class _Addition:
    """What is added to a tensor of the accumulator.

    Attributes:
      summand: The tensor to add.
      rows: The summand as rows, if it is zero except for some rows; otherwise None.
      waits: Operations that must run before the addition. The operations that the addition replaces
        waited for them.
    """

    summand: tf.Tensor
    rows: _Rows | None
    waits: tuple[tf.Operation, ...]

    def write(self, handle: tf.Tensor) -> tf.Operation | tf.Tensor:
        """Adds the summand to a variable."""
        if self.rows is not None:
            return self.rows.write(handle)
        return tf.raw_ops.AssignAddVariableOp(resource=handle, value=self.summand)


def _needs(result: tf.Tensor, addition: _Addition | None) -> list[tf.Tensor | tf.Operation]:
    """Returns what must be computed before a tensor of the accumulator is written."""
    if addition is None:
        return [result]
    rows = addition.rows
    if rows is None:
        return [addition.summand, *addition.waits]
    factor = [] if rows.factor is None else [rows.factor]
    return [rows.indices, rows.rows, *factor, *rows.checks(), *addition.waits]


def _addition(result: tf.Tensor, accumulator: tf.Tensor) -> _Addition | None:
    """Returns the addition if the result is the accumulator plus a summand, otherwise None."""
    waits: list[tf.Operation] = []
    result = rewriting.source(result, waits)
    # TensorFlow cannot add strings to a variable, and unknown sizes might broadcast.
    if result.op.type not in ("Add", "AddV2") or result.dtype == tf.string:
        return None
    if not accumulator.shape.is_fully_defined():
        return None
    waits += result.op.control_inputs
    left, right = (rewriting.source(i, waits) for i in result.op.inputs)
    for one, other in ((left, right), (right, left)):
        if one is accumulator and other is not accumulator and other.shape == accumulator.shape:
            passed: list[tf.Operation] = []
            rows = _rows(other, passed)
            return _Addition(other, rows, tuple(waits if rows is None else [*waits, *passed]))
    return None


def _rows(summand: tf.Tensor, waits: list[tf.Operation]) -> _Rows | None:
    """Returns the rows of a summand if it is zero except for some rows, otherwise None.

    A scalar that multiplies the matrix (a client's weight) then multiplies only the rows.

    Args:
      summand: The tensor to add to a tensor of the accumulator.
      waits: List to which the function appends the operations that the skipped operations wait for.
    """
    tensor, factor = rewriting.source(summand, waits), None
    if tensor.op.type == "Mul":
        waits += tensor.op.control_inputs
        left, right = (rewriting.source(i, waits) for i in tensor.op.inputs)
        if left.shape.rank == 0:
            left, right = right, left
        if right.shape.rank != 0:
            return None
        tensor, factor = left, right
    wider = None
    if tensor.op.type == "Cast" and _widens(tensor.op):
        waits += tensor.op.control_inputs
        wider, tensor = tensor.dtype, rewriting.source(tensor.op.inputs[0], waits)
    if tensor.op.type != "ScatterNd" or tensor.shape.rank != 2:
        return None
    waits += tensor.op.control_inputs
    indices, rows = tensor.op.inputs[:2]
    if indices.shape.rank != 2 or indices.shape[1] != 1:
        return None
    if wider is not None:
        # If a row number occurs twice, ScatterNd adds the two rows before the cast. Adding the cast
        # rows would round differently.
        if not rewriting.are_places(tensor.op):
            return None
        rows = tf.cast(rows, wider)
    return _Rows(tf.squeeze(indices, axis=1), rows, factor, tensor.shape)


def _widens(cast: tf.Operation) -> bool:
    """Whether a cast keeps every number unchanged."""
    before, after = cast.inputs[0].dtype, cast.outputs[0].dtype
    return before.is_floating and after.is_floating and after.size > before.size
