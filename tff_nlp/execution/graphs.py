"""TensorFlow computations of TFF as graphs that run in this process."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff
from tensorflow.python.eager import cancellation, context, execute

from tff_nlp.execution import structures

# Under which `Graph.emplace` adds operations to a graph that is empty.
SCOPE = "graph"

_names = itertools.count()


@dataclasses.dataclass(frozen=True)
class Graph:
    """The graph of a TensorFlow computation.

    Attributes:
      graph_def: What the outputs need; its library functions have names that no other `Graph`
        uses.
      inputs: Names of the placeholders, in the order of the flattened parameter.
      outputs: Names of the result's tensors, in the order of the flattened result.
      initialization: The part of the graph that must run before, once per run, or None.
      initialize_op: Name of the operation in `initialization`, or None.
      session_token: Name of a string placeholder that TFF's runtime feeds, or None.
      parameter_type: Of the computation; None without a parameter.
      result_type: Of the computation.
    """

    graph_def: tf.compat.v1.GraphDef
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    initialization: tf.compat.v1.GraphDef | None
    initialize_op: str | None
    session_token: str | None
    parameter_type: tff.Type | None
    result_type: tff.Type

    @property
    def input_specs(self) -> list[tf.TensorSpec]:
        """The specs of the flattened parameter; sequences are variants."""
        return [tensor_spec(t) for t in structures.flatten_types(self.parameter_type)]

    @property
    def has_resources(self) -> bool:
        """Whether the graph owns variables or tables, so that two runs at once would collide."""
        return self.initialize_op is not None or any(
            "shared_name" in node.attr for node in _all_nodes(self.graph_def)
        )

    def with_own_resources(self) -> "Graph":
        """Returns the graph with variables that no other graph shares."""
        if not self.has_resources:
            return self
        suffix = f"_{next(_names)}".encode()
        return dataclasses.replace(
            self,
            graph_def=_with_shared_names(self.graph_def, suffix),
            initialization=self.initialization and _with_shared_names(self.initialization, suffix),
        )

    def emplace(self, inputs: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Adds the graph to the current one and returns its outputs."""
        if not self.outputs:
            return []
        feeds = dict(zip(self.inputs, inputs, strict=True))
        if self.session_token is not None:
            feeds[self.session_token] = tf.constant("")
        used = {name for node in self.graph_def.node for name in node.input} | set(self.outputs)
        return tf.graph_util.import_graph_def(
            self.graph_def,
            input_map={name: t for name, t in feeds.items() if _reference(name) & used},
            return_elements=list(self.outputs),
            name=SCOPE,
        )

    def initializer(self) -> Callable[[], Any] | None:
        """Returns the function to call before every run, or None."""
        if self.initialization is None:
            return None

        def trace() -> tf.Tensor:
            (operation,) = tf.graph_util.import_graph_def(
                self.initialization, return_elements=[self.initialize_op], name="initialization"
            )
            with tf.control_dependencies([operation]):
                return tf.constant(True)

        return tf.compat.v1.wrap_function(trace, signature=[])


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
    main = _part_for(graph_def, outputs)
    token = proto.session_token_tensor_name
    return Graph(
        graph_def=main,
        inputs=tuple(_flatten_binding(proto.parameter)),
        outputs=outputs,
        initialization=_part_for(graph_def, [initialize_op]) if initialize_op else None,
        initialize_op=initialize_op,
        session_token=token or None,
        parameter_type=computation.type_signature.parameter,
        result_type=computation.type_signature.result,
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
    """Returns how a graph's nodes may write a tensor's name."""
    return {name, name.removesuffix(":0")}


def _part_for(graph_def: tf.compat.v1.GraphDef, targets: Sequence[str]) -> tf.compat.v1.GraphDef:
    """Returns the nodes that tensors or operations need, without placeholders."""
    nodes = {node.name: node for node in graph_def.node}
    pending = [target.split(":")[0] for target in targets]
    needed: set[str] = set()
    while pending:
        name = pending.pop()
        if name not in needed:
            needed.add(name)
            pending.extend(i.removeprefix("^").split(":")[0] for i in nodes[name].input)
    part = tf.compat.v1.GraphDef(versions=graph_def.versions, library=graph_def.library)
    part.node.extend(n for n in graph_def.node if n.name in needed and n.op != "Placeholder")
    present = {node.name for node in part.node}
    for node in part.node:
        _drop_colocations(node, present)
    return part


def _drop_colocations(node: tf.compat.v1.NodeDef, present: set[str]) -> None:
    """Drops the wish to be on the device of a node that is not there."""
    if "_class" in node.attr:
        wishes = node.attr["_class"].list.s
        kept = [w for w in wishes if w.decode().removeprefix("loc:@") in present]
        del wishes[:]
        wishes.extend(kept)
        if not kept:
            del node.attr["_class"]


def _with_shared_names(graph_def: tf.compat.v1.GraphDef, suffix: bytes) -> tf.compat.v1.GraphDef:
    copy = tf.compat.v1.GraphDef()
    copy.CopyFrom(graph_def)
    for node in _all_nodes(copy):
        if "shared_name" in node.attr:
            own = node.attr["shared_name"].s or node.name.encode()
            node.attr["shared_name"].s = own + suffix
    # A function whose variables differ is another function.
    _make_names_unique(copy)
    return copy


def _drop_waits_for_placeholders(graph_def: tf.compat.v1.GraphDef) -> None:
    """Drops control inputs that no input map reaches; a placeholder does nothing to wait for."""
    waits = {f"^{node.name}" for node in graph_def.node if node.op == "Placeholder"}
    for node in graph_def.node:
        kept = [name for name in node.input if name not in waits]
        if len(kept) < len(node.input):
            del node.input[:]
            node.input.extend(kept)


def _make_names_unique(graph_def: tf.compat.v1.GraphDef) -> None:
    """Renames library functions, of which one process has one space."""
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
    """A function of flat eager tensors; `build_function` makes them.

    Attributes:
      traced: The TensorFlow function.
      initializers: What runs before every call.
    """

    traced: Any
    initializers: tuple[Callable[[], Any], ...]

    def __call__(
        self, inputs: Sequence[tf.Tensor], stop: "cancellation.CancellationManager | None" = None
    ) -> list[tf.Tensor]:
        """Returns the results; without any, nothing runs.

        Args:
          inputs: Eager tensors.
          stop: Stops the function in the middle when it is cancelled, and is cancelled itself
            when the function fails.
        """
        if not self.traced.outputs:
            return []
        for initialize in self.initializers:
            initialize()
        if stop is None:
            return list(self.traced(*inputs))
        # TensorFlow's own way to say this holds for all threads at once.
        eager = context.context()
        options = eager.function_call_options.as_attrs().items()
        return execute.execute_with_cancellation(
            self.traced.name.decode(),
            num_outputs=len(self.traced.outputs),
            inputs=[*inputs, *self.traced.captured_inputs],
            attrs=tuple(itertools.chain.from_iterable(options)),
            ctx=eager,
            cancellation_manager=stop,
        )


def build_function(
    function: Callable[..., Sequence[tf.Tensor]],
    specs: Sequence[tf.TensorSpec],
    owners: Sequence[Graph] = (),
) -> FlatFunction:
    """Traces a function of flat tensors and returns it for eager calls.

    Args:
      function: What is traced; of what it adds to the graph, only what its results need may have
        effects.
      specs: Of its arguments.
      owners: The graphs in it, whose initializers run in a call of their own before, as they
        would in TFF's runtime.
    """
    traced = tf.compat.v1.wrap_function(
        lambda *inputs: list(function(*inputs)), signature=list(specs)
    )
    initializers = (owner.initializer() for owner in owners)
    return FlatFunction(traced, tuple(i for i in initializers if i is not None))


def wrap(graph: Graph) -> FlatFunction:
    """Returns the graph as a function of flat eager tensors."""
    own = graph.with_own_resources()
    return build_function(lambda *inputs: own.emplace(inputs), own.input_specs, [own])
