"""TensorFlow computations of TFF as graphs that run in this process."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.execution import structures

_names = itertools.count()
_RESOURCE_OPS = ("VarHandleOp", "HashTableV2", "MutableHashTableV2")


@dataclasses.dataclass(frozen=True)
class Graph:
    """The graph of a TensorFlow computation.

    Attributes:
      graph_def: The graph; its library functions have names that no other `Graph` uses.
      inputs: Names of the placeholders, in the order of the flattened parameter.
      outputs: Names of the result's tensors, in the order of the flattened result.
      initialize_op: Name of the operation that must run before, or None.
      session_token: Name of a string placeholder that TFF's runtime feeds, or None.
      parameter_type: Of the computation; None without a parameter.
      result_type: Of the computation.
    """

    graph_def: tf.compat.v1.GraphDef
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
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
            node.op in _RESOURCE_OPS for node in _all_nodes(self.graph_def)
        )

    def emplace(self, inputs: Sequence[tf.Tensor]) -> "Emplaced":
        """Adds the graph to the current one, with variables of its own."""
        feeds = dict(zip(self.inputs, inputs, strict=True))
        if self.session_token is not None:
            feeds[self.session_token] = tf.constant("")
        wanted = list(self.outputs)
        if self.initialize_op is not None:
            wanted.append(self.initialize_op)
        found = tf.graph_util.import_graph_def(
            self._with_own_resources() if self.has_resources else self.graph_def,
            input_map=feeds,
            return_elements=wanted,
            name="graph",
        )
        count = len(self.outputs)
        return Emplaced(found[:count], found[count:])

    def _with_own_resources(self) -> tf.compat.v1.GraphDef:
        """Returns a copy whose variables no other copy shares."""
        graph_def = tf.compat.v1.GraphDef()
        graph_def.CopyFrom(self.graph_def)
        suffix = f"_{next(_names)}".encode()
        for node in _all_nodes(graph_def):
            if "shared_name" in node.attr:
                node.attr["shared_name"].s = (
                    node.attr["shared_name"].s or node.name.encode()
                ) + suffix
        return graph_def


@dataclasses.dataclass(frozen=True)
class Emplaced:
    """A graph inside of another one.

    Attributes:
      outputs: Its output tensors.
      initializers: Operations that must run before every run of the graph.
    """

    outputs: list[tf.Tensor]
    initializers: list[tf.Operation]


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
    token = proto.session_token_tensor_name
    present = {node.name for node in graph_def.node}
    return Graph(
        graph_def=graph_def,
        inputs=tuple(_flatten_binding(proto.parameter)),
        outputs=tuple(_flatten_binding(proto.result)),
        initialize_op=proto.initialize_op or None,
        session_token=token if token and token.split(":")[0] in present else None,
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


FlatFunction = Callable[[Sequence[tf.Tensor]], list[tf.Tensor]]


def build_function(
    function: Callable[..., Emplaced], specs: Sequence[tf.TensorSpec]
) -> FlatFunction:
    """Traces a function of flat tensors and returns it for eager calls.

    What the outputs do not need is cut off, initializers included; those run in a call of their
    own before, as they would in TFF's runtime.
    """
    emplaced: list[Emplaced] = []

    def trace(*inputs: tf.Tensor) -> list[tf.Tensor]:
        emplaced.append(function(*inputs))
        return emplaced[-1].outputs

    wrapped = tf.compat.v1.wrap_function(trace, signature=list(specs))
    outputs, initializers = emplaced[-1].outputs, emplaced[-1].initializers
    if not outputs:
        return lambda inputs: []
    run = wrapped.prune(wrapped.inputs[: len(specs)], outputs)
    initialize = wrapped.prune([], initializers) if initializers else None

    def call(inputs: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        if initialize is not None:
            initialize()
        return list(run(*inputs))

    return call


def wrap(graph: Graph) -> FlatFunction:
    """Returns the graph as a function of flat eager tensors."""
    return build_function(lambda *inputs: graph.emplace(inputs), graph.input_specs)
