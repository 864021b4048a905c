"""Runs TFF's syntax tree step by step, for computations that are not a single round.

Such computations have several phases (a broadcast after an aggregate), secure sums that depend on
one another, federated selects or unplaced functions. They run in this process. The values of all
clients in a step are in memory at the same time, as in TFF's runtime.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.execution import forms, graphs, secure_sums, sequences, structures

Function = Callable[[Any], Any]
# (function, argument of each client) -> result of each client, in the same order.
MapClients = Callable[[Function, Sequence[Any]], list[Any]]


class UnsupportedError(Exception):
    """The computation has a part that the interpreter does not support."""


@dataclasses.dataclass(frozen=True)
class _AllEqual:
    """A value that every client has."""

    value: Any


class Interpreter:
    """Runs a computation. Several threads may call it at the same time."""

    def __init__(
        self,
        computation: tff.framework.ConcreteComputation,
        map_clients: MapClients,
        protocols: secure_sums.Protocols | None = None,
    ) -> None:
        """Compiles the computation.

        Args:
          computation: The computation to run.
          map_clients: Runs a function for each client.
          protocols: Protocol that computes secure sums. None adds the values in the clear.

        Raises:
          UnsupportedError: If the computation has a part that the interpreter does not support.
        """
        self._type = computation.type_signature
        self._map_clients = map_clients
        self._protocols = protocols
        self._tree = _native(computation).to_building_block()
        self._graphs: dict[int, Function] = {}
        self._check(self._tree)
        _check_values(self._type)

    def __call__(self, argument: Any) -> Any:
        """Runs the computation on an argument and returns its result."""
        parameter, result_type = self._type.parameter, self._type.result
        run = _Run(self._graphs, self._map_clients, self._protocols)
        value = run.ingest(argument, parameter) if parameter is not None else None
        result = run.evaluate(self._tree, {})
        if isinstance(self._tree.type_signature, tff.FunctionType):
            result = result(value)
        return run.release(result, result_type)

    def _check(self, tree: tff.framework.ComputationBuildingBlock) -> None:
        """Wraps the graphs of a tree and refuses unsupported parts."""

        def visit(block: Any) -> tuple[Any, bool]:
            if isinstance(block, tff.framework.CompiledComputation):
                if block.proto.WhichOneof("computation") != "tensorflow":
                    raise UnsupportedError("a local computation that is not TensorFlow")
                self._graphs[id(block)] = _graph_function(block)
            elif isinstance(block, tff.framework.Intrinsic):
                if block.uri not in _INTRINSICS:
                    raise UnsupportedError(f"the operator {block.uri}")
            elif isinstance(block, tff.framework.Data):
                raise UnsupportedError("a reference to external data")
            return block, False

        tff.framework.transform_postorder(tree, visit)


def _native(
    computation: tff.framework.ConcreteComputation,
) -> tff.framework.ConcreteComputation:
    """Rewrites a computation to basic operators, with TensorFlow in all local parts."""
    try:
        desugared = tff.backends.native.desugar_and_transform_to_native(computation)
        return tff.backends.native.transform_to_native_form(desugared, transform_math_to_tf=True)
    except Exception as error:  # TFF raises many error classes; some are not public
        raise UnsupportedError(forms.in_short(error)) from error


def _check_values(signature: tff.FunctionType) -> None:
    """Refuses functions among the arguments and results."""
    pending = [t for t in (signature.parameter, signature.result) if t is not None]
    while pending:
        type_spec = pending.pop()
        if isinstance(type_spec, tff.FederatedType):
            pending.append(type_spec.member)
        elif isinstance(type_spec, tff.StructType):
            pending += [t for _, t in tff.structure.iter_elements(type_spec)]
        elif not isinstance(type_spec, (tff.TensorType, tff.SequenceType)):
            raise UnsupportedError(f"a value of type {type_spec}")


def _graph_function(block: tff.framework.CompiledComputation) -> Function:
    computation = tff.framework.deserialize_computation(block.proto)
    graph = graphs.from_computation(computation)
    run = graphs.wrap(graph)

    def call(argument: Any) -> Any:
        tensors = list(_tensors(argument, graph.parameter_type))
        return _value(iter(run(tensors)), graph.result_type)

    return call


def _tensors(value: Any, type_spec: tff.Type | None) -> Iterator[tf.Tensor]:
    if isinstance(type_spec, tff.StructType):
        for index, (_, element) in enumerate(tff.structure.iter_elements(type_spec)):
            yield from _tensors(value[index], element)
    elif type_spec is not None:
        yield value


def _value(tensors: Iterator[tf.Tensor], type_spec: tff.Type) -> Any:
    if isinstance(type_spec, tff.StructType):
        return tff.structure.Struct(
            [(n, _value(tensors, t)) for n, t in tff.structure.iter_elements(type_spec)]
        )
    return next(tensors)


def _elements(variant: tf.Tensor, type_spec: tff.SequenceType) -> Iterator[Any]:
    """Yields the values of a sequence's elements."""
    spec = sequences.element_spec(type_spec.element)
    for tensors in sequences.iterate(variant, type_spec):
        element = tf.nest.pack_sequence_as(spec, tensors)
        yield _value(iter(structures.flatten(element, type_spec.element)), type_spec.element)


def _sequence(elements: Iterable[Any], type_spec: tff.SequenceType) -> tf.Tensor:
    """Returns a sequence of the given elements."""
    member = type_spec.element
    tensors = [
        tensor
        for element in elements
        for tensor in sequences.in_data_set_order(list(_tensors(element, member)), member)
    ]
    return sequences.from_tensors(tensors, type_spec)


class _Run:
    """One call of a computation.

    Values are represented as follows:
      tensor: A tensor.
      sequence: A variant tensor.
      structure: A `tff.structure.Struct`.
      value at the server: The value itself.
      value at clients: A list with one value per client, or `_AllEqual`.
      function: A callable of one argument.
    """

    def __init__(
        self,
        compiled: Mapping[int, Function],
        map_clients: MapClients,
        protocols: secure_sums.Protocols | None,
    ) -> None:
        self._compiled = compiled
        self._map_clients = map_clients
        self._protocols = protocols
        self._num_clients: int | None = None

    def ingest(self, value: Any, type_spec: tff.Type) -> Any:
        """Converts an argument to the representation of this class."""
        if isinstance(type_spec, tff.FederatedType):
            if type_spec.placement is tff.SERVER:
                return self.ingest(value, type_spec.member)
            if type_spec.all_equal:
                return _AllEqual(self.ingest(value, type_spec.member))
            return self._ingest_clients(value, type_spec)
        if isinstance(type_spec, tff.StructType):
            values = structures.elements(value, type_spec)
            types = tff.structure.iter_elements(type_spec)
            return tff.structure.Struct(
                [(n, self.ingest(v, t)) for v, (n, t) in zip(values, types, strict=True)]
            )
        (tensor,) = structures.flatten(value, type_spec)
        return tensor

    def _ingest_clients(self, value: Any, type_spec: tff.FederatedType) -> list[Any]:
        clients = structures.client_list(value)
        others = [] if self._num_clients is None else [range(self._num_clients)]
        self._num_clients = structures.cohort_size([*others, clients])
        return [self.ingest(client, type_spec.member) for client in clients]

    def release(self, value: Any, type_spec: tff.Type) -> Any:
        """Converts a result from the representation of this class to what the caller gets."""
        if isinstance(type_spec, tff.FederatedType) and type_spec.placement is tff.CLIENTS:
            member = type_spec.member
            if isinstance(value, _AllEqual) and type_spec.all_equal:
                return self.release(value.value, member)
            clients = [list(_tensors(client, member)) for client in self._of_each_client(value)]
            return structures.pack_clients(clients, type_spec)
        if isinstance(type_spec, tff.FederatedType):
            return self.release(value, type_spec.member)
        if isinstance(type_spec, tff.StructType):
            types = tff.structure.iter_elements(type_spec)
            released = [(n, self.release(value[i], t)) for i, (n, t) in enumerate(types)]
            return tff.types.type_to_py_container(tff.structure.Struct(released), type_spec)
        return structures.pack(iter([value]), type_spec)

    def evaluate(self, block: Any, names: Mapping[str, Any]) -> Any:
        """Returns the value of a part of the tree.

        Args:
          block: The part of the tree.
          names: Values of the names that are in scope.
        """
        tffl = tff.framework
        match block:
            case tffl.Reference():
                return names[block.name]
            case tffl.Literal():
                return tf.constant(block.value, tf.dtypes.as_dtype(block.type_signature.dtype))
            case tffl.CompiledComputation():
                return self._compiled[id(block)]
            case tffl.Intrinsic():
                operator, types = _INTRINSICS[block.uri], block.type_signature
                return lambda argument: operator(self, argument, types)
            case tffl.Struct():
                elements = tff.structure.iter_elements(block)
                return tff.structure.Struct([(n, self.evaluate(e, names)) for n, e in elements])
            case tffl.Selection():
                source = self.evaluate(block.source, names)
                return source[block.index if block.name is None else block.name]
            case tffl.Lambda():
                return lambda argument: self.evaluate(
                    block.result, {**names, block.parameter_name: argument}
                )
            case tffl.Block():
                inner = dict(names)
                for name, local in block.locals:
                    inner[name] = self.evaluate(local, inner)
                return self.evaluate(block.result, inner)
            case tffl.Call():
                function = self.evaluate(block.function, names)
                argument = None
                if block.argument is not None:
                    argument = self.evaluate(block.argument, names)
                return function(argument)
            case tffl.Placement():
                return block
        raise UnsupportedError(f"a part of kind {type(block).__name__}")

    def _of_each_client(self, value: Any) -> list[Any]:
        if isinstance(value, _AllEqual):
            return [value.value] * (self._num_clients or 0)
        return value

    def map(self, argument: Any, types: tff.FunctionType) -> Any:
        """federated_map, federated_map_all_equal."""
        function, value = argument
        if isinstance(value, _AllEqual) and types.result.all_equal:
            return _AllEqual(function(value.value))
        return self._map_clients(function, self._of_each_client(value))

    def apply(self, argument: Any, _: tff.FunctionType) -> Any:
        """federated_apply: federated_map at the server."""
        function, value = argument
        return function(value)

    def to_all_clients(self, argument: Any, _: tff.FunctionType) -> Any:
        """federated_broadcast, federated_value_at_clients."""
        return _AllEqual(argument)

    def keep(self, argument: Any, _: tff.FunctionType) -> Any:
        """federated_value_at_server, federated_zip_at_server."""
        return argument

    def evaluate_at_clients(self, argument: Any, _: tff.FunctionType) -> Any:
        """federated_eval_at_clients."""
        return self._map_clients(argument, [None] * (self._num_clients or 0))

    def evaluate_at_server(self, argument: Any, _: tff.FunctionType) -> Any:
        """federated_eval_at_server."""
        return argument(None)

    def zip_at_clients(self, argument: Any, types: tff.FunctionType) -> Any:
        """federated_zip_at_clients."""
        if types.result.all_equal:
            return _AllEqual(self._zip(argument, types.parameter, lambda value: value.value))

        def of_client(position: int) -> Function:
            return lambda value: self._of_each_client(value)[position]

        return [
            self._zip(argument, types.parameter, of_client(position))
            for position in range(self._num_clients or 0)
        ]

    def _zip(self, value: Any, type_spec: tff.Type, choose: Function) -> Any:
        if isinstance(type_spec, tff.StructType):
            types = tff.structure.iter_elements(type_spec)
            return tff.structure.Struct(
                [(n, self._zip(value[i], t, choose)) for i, (n, t) in enumerate(types)]
            )
        return choose(value)

    def aggregate(self, argument: Any, _: tff.FunctionType) -> Any:
        """federated_aggregate, in the order of the clients."""
        value, total, accumulate, _merge, report = argument
        for client in self._of_each_client(value):
            total = accumulate(tff.structure.Struct.unnamed(total, client))
        return report(total)

    def select(self, argument: Any, types: tff.FunctionType) -> Any:
        """federated_select, federated_secure_select."""
        keys, _max_key, server_value, function = argument
        sequence_type = types.result.member

        def choose(own_keys: tf.Tensor) -> tf.Tensor:
            pairs = (tff.structure.Struct.unnamed(server_value, k) for k in tf.unstack(own_keys))
            return _sequence(map(function, pairs), sequence_type)

        return self._map_clients(choose, self._of_each_client(keys))

    def sequence_map(self, argument: Any, types: tff.FunctionType) -> Any:
        """sequence_map, which reads all elements."""
        function, sequence = argument
        _, sequence_type = tff.structure.to_elements(types.parameter)[1]
        results = map(function, _elements(sequence, sequence_type))
        return _sequence(results, types.result)

    def sequence_reduce(self, argument: Any, types: tff.FunctionType) -> Any:
        """sequence_reduce, element by element."""
        sequence, total, function = argument
        _, sequence_type = tff.structure.to_elements(types.parameter)[0]
        for element in _elements(sequence, sequence_type):
            total = function(tff.structure.Struct.unnamed(total, element))
        return total

    def sequence_sum(self, argument: Any, types: tff.FunctionType) -> Any:
        """sequence_sum, element by element."""
        specs = [graphs.tensor_spec(t) for t in structures.flatten_types(types.result)]
        total = [tf.zeros(spec.shape, spec.dtype) for spec in specs]
        for element in _elements(argument, types.parameter):
            parts = _tensors(element, types.result)
            total = [tensor + part for tensor, part in zip(total, parts, strict=True)]
        return _value(iter(total), types.result)

    def secure_sum(self, kind: str, argument: Any, types: tff.FunctionType) -> Any:
        """The secure sum of a kind of `secure_sums.Summand`."""
        value, bound = argument
        _, bound_type = tff.structure.to_elements(types.parameter)[1]
        bounds = [int(tensor) for tensor in _tensors(bound, bound_type)]
        member = types.result.member
        summands = secure_sums.with_bounds(kind, bounds, member)
        clients = [list(_tensors(client, member)) for client in self._of_each_client(value)]
        return _value(iter(secure_sums.total(summands, clients, self._protocols)), member)


def _secure(kind: str) -> Callable[[_Run, Any, tff.FunctionType], Any]:
    return lambda run, argument, types: run.secure_sum(kind, argument, types)


_INTRINSICS: dict[str, Callable[[_Run, Any, tff.FunctionType], Any]] = {
    "federated_aggregate": _Run.aggregate,
    "federated_apply": _Run.apply,
    "federated_broadcast": _Run.to_all_clients,
    "federated_eval_at_clients": _Run.evaluate_at_clients,
    "federated_eval_at_server": _Run.evaluate_at_server,
    "federated_map": _Run.map,
    "federated_map_all_equal": _Run.map,
    "federated_secure_modular_sum": _secure("modulus"),
    "federated_secure_select": _Run.select,
    "federated_secure_sum": _secure("max_input"),
    "federated_secure_sum_bitwidth": _secure("bitwidth"),
    "federated_select": _Run.select,
    "federated_value_at_clients": _Run.to_all_clients,
    "federated_value_at_server": _Run.keep,
    "federated_zip_at_clients": _Run.zip_at_clients,
    "federated_zip_at_server": _Run.keep,
    "sequence_map": _Run.sequence_map,
    "sequence_reduce": _Run.sequence_reduce,
    "sequence_sum": _Run.sequence_sum,
}
