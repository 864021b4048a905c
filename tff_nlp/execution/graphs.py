"""TFF's TensorFlow computations as graphs that run in this process."""

import collections
import contextlib
import dataclasses
import functools
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff
from tensorflow.python.eager import cancellation, context, execute

from tff_nlp.execution import structures

# The name scope of the operations that `Graph.emplace` adds to an empty graph.
SCOPE = "graph"

# The name under which TensorFlow makes a new variable at each run.
_ANONYMOUS = b"cd2c89b7-88b7-44c8-ad83-06c2a9158347"

# Table operations that share a table by name -> operations that make a new table at each run.
_ANONYMOUS_TABLES = {
    "HashTableV2": "AnonymousHashTable",
    "MutableDenseHashTableV2": "AnonymousMutableDenseHashTable",
    "MutableHashTableOfTensorsV2": "AnonymousMutableHashTableOfTensors",
    "MutableHashTableV2": "AnonymousMutableHashTable",
}

_names = itertools.count()


@dataclasses.dataclass(frozen=True)
class Graph:
    """The graph of a TensorFlow computation.

    Attributes:
      graph_def: The nodes that the outputs need. It includes the initialization, and all other
        nodes wait for the initialization. No other `Graph` uses the names of its library functions.
      inputs: Names of the placeholders, in the order of the flattened parameter.
      outputs: Names of the result's tensors, in the order of the flattened result.
      variables: Names of the handles of variables that exist only during one run.
      users: Names of the operations that use these variables.
      session_token: Name of a string placeholder that TFF's runtime feeds, or None.
      parameter_type: Parameter type of the computation; None without a parameter.
      result_type: Result type of the computation.
    """

    graph_def: tf.compat.v1.GraphDef
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    variables: tuple[str, ...]
    users: tuple[str, ...]
    session_token: str | None
    parameter_type: tff.Type | None
    result_type: tff.Type

    @property
    def input_specs(self) -> list[tf.TensorSpec]:
        """The specs of the flattened parameter; sequences are variants."""
        return [tensor_spec(t) for t in structures.flatten_types(self.parameter_type)]

    def type_of_argument(self, index: int) -> tff.Type:
        """Returns the type of one of the arguments."""
        return tff.structure.to_elements(self.parameter_type)[index][1]

    @property
    def has_resources(self) -> bool:
        """Whether two runs at the same time would share a variable or table by its name."""
        return any(_is_shared(node) for node in _all_nodes(self.graph_def))

    def with_own_resources(self) -> "Graph":
        """Returns the graph with new names for its shared variables and tables."""
        if not self.has_resources:
            return self
        suffix = f"_{next(_names)}".encode()
        return dataclasses.replace(self, graph_def=_with_shared_names(self.graph_def, suffix))

    def emplace(self, inputs: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Adds the graph to the current one and returns its outputs."""
        if not self.outputs:
            return []
        feeds = dict(zip(self.inputs, inputs, strict=True))
        if self.session_token is not None:
            feeds[self.session_token] = tf.constant("")
        used = {i for node in self.graph_def.node for i in node.input} | set(self.outputs)
        imported = tf.graph_util.import_graph_def(
            self.graph_def,
            input_map={name: t for name, t in feeds.items() if _reference(name) & used},
            return_elements=[*self.outputs, *self.variables, *self.users],
            name=SCOPE,
        )
        elements = iter(imported)
        outputs = list(itertools.islice(elements, len(self.outputs)))
        handles = list(itertools.islice(elements, len(self.variables)))
        if not handles:
            return outputs
        with tf.control_dependencies([*outputs, *elements]):
            ends = [
                tf.raw_ops.DestroyResourceOp(resource=handle, ignore_lookup_error=True)
                for handle in handles
            ]
        with tf.control_dependencies(ends):
            return [tf.identity(output) for output in outputs]


def tensor_spec(type_spec: tff.Type) -> tf.TensorSpec:
    """Returns the spec of a tensor or sequence type."""
    if isinstance(type_spec, tff.SequenceType):
        return tf.TensorSpec([], tf.variant)
    return tf.TensorSpec(type_spec.shape, tf.dtypes.as_dtype(type_spec.dtype))


def is_tensorflow(computation: tff.framework.ConcreteComputation) -> bool:
    """Whether the computation is plain TensorFlow, without federated operators."""
    proto = tff.framework.serialize_computation(computation)
    return proto.WhichOneof("computation") == "tensorflow"


def from_computation(computation: tff.framework.ConcreteComputation) -> Graph:
    """Returns the graph of a TensorFlow computation."""
    proto = tff.framework.serialize_computation(computation).tensorflow
    graph_def = tf.compat.v1.GraphDef()
    proto.graph_def.Unpack(graph_def)
    _make_names_unique(graph_def)
    _drop_waits_for_placeholders(graph_def)
    outputs = tuple(_flatten_binding(proto.result))
    initialize_op = proto.initialize_op or None
    part = _part_for(graph_def, [*outputs, *([initialize_op] if initialize_op else [])])
    if initialize_op:
        _wait_for_initialization(part, initialize_op)
    handles = _make_anonymous(part)
    result_type = computation.type_signature.result
    if any(isinstance(t, tff.SequenceType) for t in structures.flatten_types(result_type)):
        handles = []  # A returned data set may read a variable after the run.
    return Graph(
        graph_def=part,
        inputs=tuple(_flatten_binding(proto.parameter)),
        outputs=outputs,
        variables=tuple(f"{name}:0" for name in handles),
        users=tuple(_users(part, handles)),
        session_token=proto.session_token_tensor_name or None,
        parameter_type=computation.type_signature.parameter,
        result_type=result_type,
    )


def _flatten_binding(binding: Any) -> list[str]:
    kind = binding.WhichOneof("binding")
    if kind is None:
        return []
    if kind == "struct":
        return [name for element in binding.struct.element for name in _flatten_binding(element)]
    if kind == "sequence":
        return [binding.sequence.variant_tensor_name]
    return [binding.tensor.tensor_name]


def _all_nodes(graph_def: tf.compat.v1.GraphDef) -> Iterator[tf.compat.v1.NodeDef]:
    functions = (function.node_def for function in graph_def.library.function)
    return itertools.chain(graph_def.node, *functions)


def _reference(name: str) -> set[str]:
    """Returns the two spellings of a tensor's name in a graph."""
    return {name, name.removesuffix(":0")}


def _part_for(graph_def: tf.compat.v1.GraphDef, targets: Sequence[str]) -> tf.compat.v1.GraphDef:
    """Returns a graph of the nodes that the targets need, without placeholders."""
    needed = _upstream(graph_def, targets)
    part = tf.compat.v1.GraphDef(versions=graph_def.versions, library=graph_def.library)
    part.node.extend(n for n in graph_def.node if n.name in needed and n.op != "Placeholder")
    present = {node.name for node in part.node}
    for node in part.node:
        _drop_colocations(node, present)
    return part


def _upstream(graph_def: tf.compat.v1.GraphDef, targets: Sequence[str]) -> set[str]:
    """Returns the names of the nodes that the targets need, and of the targets themselves."""
    nodes = {node.name: node for node in graph_def.node}
    pending = [target.split(":")[0] for target in targets]
    needed: set[str] = set()
    while pending:
        name = pending.pop()
        if name not in needed:
            needed.add(name)
            # An input without a node is an input of the graph itself.
            pending.extend(_sources(nodes[name]) if name in nodes else ())
    return needed


def _sources(node: tf.compat.v1.NodeDef) -> set[str]:
    return {i.removeprefix("^").split(":")[0] for i in node.input}


def _wait_for_initialization(graph_def: tf.compat.v1.GraphDef, initialize_op: str) -> None:
    """Makes all nodes that the initialization does not need wait for it.

    Each of these nodes gets a control input. Control inputs on the first nodes alone would not be
    enough: TensorFlow may inline a function call, and nodes of its body that read no argument then
    wait only for the control inputs of the call. Constants get none, so that TensorFlow can still
    fold them.
    """
    before = _upstream(graph_def, [initialize_op])
    for node in graph_def.node:
        if node.name not in before and node.op != "Const":
            node.input.append(f"^{initialize_op}")


def _users(graph_def: tf.compat.v1.GraphDef, handles: Iterable[str]) -> list[str]:
    """Returns the names of the nodes that use the variables with these handles."""
    known = set(handles)
    users = []
    # TensorFlow usually writes a node after its inputs, but this is not guaranteed.
    for _ in range(2):
        users = [node for node in graph_def.node if _sources(node) & known]
        known |= {node.name for node in users if node.op == "Identity"}
    return [node.name for node in users]


def _make_anonymous(graph_def: tf.compat.v1.GraphDef) -> list[str]:
    """Makes variables and tables new at each run, as in TFF's runtime.

    Two operations with the same name share a variable or table. These stay as they are.

    Returns:
      The names of the nodes that make variables. TensorFlow deletes the tables by itself.
    """
    by_name = collections.Counter(_shared_name(n) for n in _all_nodes(graph_def) if _is_shared(n))
    variables = []
    for node in graph_def.node:
        if not _is_shared(node) or by_name[_shared_name(node)] > 1:
            continue
        if node.op == "VarHandleOp":
            node.attr["shared_name"].s = _ANONYMOUS
            variables.append(node.name)
        elif node.op in _ANONYMOUS_TABLES:
            node.op = _ANONYMOUS_TABLES[node.op]
            for attribute in ("container", "shared_name", "use_node_name_sharing"):
                node.attr.pop(attribute, None)
    return variables


def _is_shared(node: tf.compat.v1.NodeDef) -> bool:
    return "shared_name" in node.attr and node.attr["shared_name"].s != _ANONYMOUS


def _shared_name(node: tf.compat.v1.NodeDef) -> bytes:
    return node.attr["shared_name"].s or node.name.encode()


def _drop_colocations(node: tf.compat.v1.NodeDef, present: set[str]) -> None:
    """Drops colocation constraints with nodes that are not in the graph."""
    if "_class" in node.attr:
        constraints = node.attr["_class"].list.s
        kept = [c for c in constraints if c.decode().removeprefix("loc:@") in present]
        del constraints[:]
        constraints.extend(kept)
        if not kept:
            del node.attr["_class"]


def _with_shared_names(graph_def: tf.compat.v1.GraphDef, suffix: bytes) -> tf.compat.v1.GraphDef:
    copy = tf.compat.v1.GraphDef()
    copy.CopyFrom(graph_def)
    for node in _all_nodes(copy):
        if _is_shared(node):
            node.attr["shared_name"].s = _shared_name(node) + suffix
    # Functions with different variables must have different names.
    _make_names_unique(copy)
    return copy


def _drop_waits_for_placeholders(graph_def: tf.compat.v1.GraphDef) -> None:
    """Drops control inputs from placeholders.

    An input map cannot replace them, and there is nothing to wait for.
    """
    waits = {f"^{node.name}" for node in graph_def.node if node.op == "Placeholder"}
    for node in graph_def.node:
        kept = [name for name in node.input if name not in waits]
        if len(kept) < len(node.input):
            del node.input[:]
            node.input.extend(kept)


def _make_names_unique(graph_def: tf.compat.v1.GraphDef) -> None:
    """Renames library functions, because their names are global in a process."""
    suffix = f"_{next(_names)}"
    functions = {f.signature.name for f in graph_def.library.function}

    def rename_in(nodes: Any) -> None:
        for node in nodes:
            if node.op in functions:
                node.op += suffix
            for attribute in node.attr.values():
                kind = attribute.WhichOneof("value")
                if kind == "func" and attribute.func.name in functions:
                    attribute.func.name += suffix
                elif kind == "list":
                    for function in attribute.list.func:
                        if function.name in functions:
                            function.name += suffix

    rename_in(graph_def.node)
    for function in graph_def.library.function:
        rename_in(function.node_def)
        function.signature.name += suffix
    for gradient in graph_def.library.gradient:
        gradient.function_name += suffix if gradient.function_name in functions else ""
        gradient.gradient_func += suffix if gradient.gradient_func in functions else ""


@dataclasses.dataclass(frozen=True)
class FlatFunction:
    """A function of flat eager tensors, made by `build_function`.

    Attributes:
      traced: The TensorFlow function.
      lock: Lock that is held while the function runs. It separates runs that would share variables
        or tables.
    """

    traced: Any
    lock: contextlib.AbstractContextManager[Any]

    def __call__(
        self, inputs: Sequence[tf.Tensor], stop: "cancellation.CancellationManager | None" = None
    ) -> list[tf.Tensor]:
        """Runs the function and returns its results. A function without results does not run.

        Args:
          inputs: Eager tensors or NumPy arrays.
          stop: Cancellation manager. Cancelling it stops the function in the middle. TensorFlow
            cancels it if the function fails.
        """
        if not self.traced.outputs:
            return []
        with self.lock:
            return self._run(inputs, stop)

    def _run(
        self, inputs: Sequence[tf.Tensor], stop: "cancellation.CancellationManager | None"
    ) -> list[tf.Tensor]:
        eager = context.context()
        # TensorFlow's public way to set a cancellation manager would affect all threads.
        return execute.execute_with_cancellation(
            self.traced.name.decode(),
            num_outputs=len(self.traced.outputs),
            inputs=[*map(_eager, inputs), *self.traced.captured_inputs],
            attrs=_attributes(eager.function_call_options.config_proto_serialized),
            ctx=eager,
            cancellation_manager=stop or cancellation.CancellationManager(),
        )


def _eager(value: Any) -> tf.Tensor:
    return value if isinstance(value, tf.Tensor) else tf.convert_to_tensor(value)


@functools.cache
def _attributes(serialized: bytes) -> tuple[Any, ...]:
    """Returns the attributes of a call of a function.

    If a graph may need more than 80 % of a device's memory (a CPU counts as 256 MB), TensorFlow
    adds up tensors in a temporary variable. Its name is the same in all runs of a function, so two
    runs at the same time fail. The scheduling of memory, which does this, is therefore off.

    Args:
      serialized: TensorFlow's configuration of calls, serialized.
    """
    config = tf.compat.v1.ConfigProto.FromString(serialized)
    rewriting = config.graph_options.rewrite_options
    rewriting.memory_optimization = rewriting.SWAPPING_HEURISTICS
    options = context.FunctionCallOptions(config_proto=config).as_attrs()
    return tuple(itertools.chain.from_iterable(options.items()))


def build_function(
    function: Callable[..., Sequence[tf.Tensor]],
    specs: Sequence[tf.TensorSpec],
    *,
    exclusive: bool = False,
) -> FlatFunction:
    """Traces a function of flat tensors and returns it for eager calls.

    Args:
      function: Function to trace. Operations that its results do not need may not run.
      specs: Specs of its arguments.
      exclusive: Whether two runs must not happen at the same time.
    """
    traced = tf.compat.v1.wrap_function(
        lambda *inputs: list(function(*inputs)), signature=list(specs)
    )
    return FlatFunction(traced, threading.Lock() if exclusive else contextlib.nullcontext())


def wrap(graph: Graph) -> FlatFunction:
    """Returns the graph as a function of flat eager tensors. Several threads may call it."""
    own = graph.with_own_resources()
    return build_function(
        lambda *inputs: own.emplace(inputs), own.input_specs, exclusive=own.has_resources
    )
