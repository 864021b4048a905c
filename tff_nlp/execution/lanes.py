"""Lanes: each runs some clients of a cohort, one after another, into an accumulator of its own.

A client's work and its accumulation are one function. The accumulator stays in variables, and a
sum is added to it in place; where the summand is a scattered table of few rows (a token embedding
of which the client saw some hundred tokens), only those rows are touched. The floats added are
the same ones in the same order as TFF adds them.
"""

import dataclasses
from collections.abc import Callable, Sequence

import tensorflow as tf
from tensorflow.python.eager import cancellation

from tff_nlp.execution import forms, graphs, rewriting, secure_sums, structures


@dataclasses.dataclass(frozen=True)
class LaneFunctions:
    """What a lane runs, of flat tensors and at last the resource handles of its accumulator.

    Attributes:
      specs: Of the accumulator.
      reset: (handles) to nothing.
      run: (client data, broadcast, handles) to a client's inputs to the secure sums, and then its
        results that are placed at clients.
      merge: (another lane's accumulator, handles) to nothing.
    """

    specs: tuple[tf.TensorSpec, ...]
    reset: graphs.FlatFunction
    run: graphs.FlatFunction
    merge: graphs.FlatFunction


@dataclasses.dataclass(frozen=True)
class Lane:
    """An accumulator on a device and the functions that feed it.

    Attributes:
      device: The name of the device.
      accumulator: The variables that hold the accumulator.
      functions: What feeds it.
      value_sizes: For each result that is placed at clients, the number of its tensors.
    """

    device: str
    accumulator: tuple[tf.Variable, ...]
    functions: LaneFunctions
    value_sizes: tuple[int, ...]

    def place(self, broadcast: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Returns the broadcast on this lane's device, so that it is copied once per round."""
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
          stop: Stops the client in the middle when it is cancelled.

        Returns:
          The client's inputs to the secure sums, flattened, and then its results that are placed
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

    Graphs without variables or tables of their own are traced once for all lanes.

    Args:
      form: The round.
      summands: Its secure sums.
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
    """Applies accumulate or merge to variables, in place where the graph only adds.

    Args:
      graph: Of (accumulator, values) to the new accumulator.
      specs: Of the accumulator.
      handles: Of the variables that hold it.
      values: What is added.
      first: What must be computed before anything is written, besides the values.

    Returns:
      A tensor to wait for.
    """
    current = [
        _read(handle, spec) if reads else _placeholder(spec)
        for handle, spec, reads in zip(handles, specs, _reads(graph, specs), strict=True)
    ]
    results = graph.emplace([*current, *values])
    additions = [_addition(r, c) for r, c in zip(results, current, strict=True)]
    waits = [part for r, a in zip(results, additions, strict=True) for part in _needs(r, a)]
    # Nothing is written before everything is computed: a client that fails leaves no trace.
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
    """Whether the order of a round's clients makes no difference but for rounding."""
    return all(_adds_only(graph, form) for graph in (form.accumulate, form.merge))


def _adds_only(graph: graphs.Graph, form: forms.RoundForm) -> bool:
    count = len(list(structures.flatten_types(form.accumulator_type)))
    with tf.Graph().as_default():
        inputs = [_placeholder(spec) for spec in graph.input_specs]
        results = graph.emplace(inputs)
        pairs = list(zip(results, inputs[:count], strict=True))
        return all(rewriting.source(r, []) is i or _addition(r, i) is not None for r, i in pairs)


def _reads(graph: graphs.Graph, specs: Sequence[tf.TensorSpec]) -> list[bool]:
    """Returns for each tensor of the accumulator whether its value is needed to add to it.

    What is read is held, and a variable that is held is copied before it is changed.
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
    """A matrix of zeros but for some rows.

    Attributes:
      indices: Where the rows are.
      rows: The rows.
      factor: A scalar that multiplies the matrix, or None.
      shape: Of the matrix.
    """

    indices: tf.Tensor
    rows: tf.Tensor
    factor: tf.Tensor | None
    shape: tf.TensorShape

    def checks(self) -> list[tf.Operation]:
        """Returns an operation that fails where a row lies outside of the matrix."""
        inside = (self.indices >= 0) & (self.indices < tf.cast(self.shape[0], self.indices.dtype))
        return [tf.debugging.Assert(tf.reduce_all(inside), ["a row outside of its table"])]

    def write(self, handle: tf.Tensor) -> tf.Operation | tf.Tensor:
        """Adds the matrix to a variable; only rows that are there are touched."""
        if self.factor is None:
            return self._scatter(handle, self.rows)
        if not self.factor.dtype.is_floating:
            return self._scatter(handle, self.rows * self.factor)
        # A factor that is no number, or infinite, makes the zeros something else.
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
      summand: What is added.
      rows: The summand as rows, if it is a matrix of few of them; else None.
      waits: What must have run before: what the operations that are left out waited for.
    """

    summand: tf.Tensor
    rows: _Rows | None
    waits: tuple[tf.Operation, ...]

    def write(self, handle: tf.Tensor) -> tf.Operation | tf.Tensor:
        """Adds it to a variable."""
        if self.rows is not None:
            return self.rows.write(handle)
        return tf.raw_ops.AssignAddVariableOp(resource=handle, value=self.summand)


def _needs(result: tf.Tensor, addition: _Addition | None) -> list[tf.Tensor | tf.Operation]:
    """Returns what is computed before a tensor of the accumulator is written."""
    if addition is None:
        return [result]
    rows = addition.rows
    if rows is None:
        return [addition.summand, *addition.waits]
    factor = [] if rows.factor is None else [rows.factor]
    return [rows.indices, rows.rows, *factor, *rows.checks(), *addition.waits]


def _addition(result: tf.Tensor, accumulator: tf.Tensor) -> _Addition | None:
    """Returns what is added if the result is the accumulator plus something, else None."""
    waits: list[tf.Operation] = []
    result = rewriting.source(result, waits)
    # Strings can be added too, but not to a variable; unknown sizes might broadcast.
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
    """Returns the rows of a summand if it is a matrix of zeros but for some rows, else None.

    A scalar that multiplies the matrix (a client's weight) multiplies the rows instead.

    Args:
      summand: What is added to a tensor of the accumulator.
      waits: Receives what the operations that are left out wait for.
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
        # Rows that stand twice would be added before they are rounded, and after it otherwise.
        if not rewriting.are_places(tensor.op):
            return None
        rows = tf.cast(rows, wider)
    return _Rows(tf.squeeze(indices, axis=1), rows, factor, tensor.shape)


def _widens(cast: tf.Operation) -> bool:
    """Returns whether a cast keeps every number as it is."""
    before, after = cast.inputs[0].dtype, cast.outputs[0].dtype
    return before.is_floating and after.is_floating and after.size > before.size
