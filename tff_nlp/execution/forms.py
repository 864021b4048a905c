"""Computations cut into the pieces of TFF's MapReduce form."""

import collections
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.execution import graphs, structures


@dataclasses.dataclass(frozen=True)
class RoundForm:
    """One round as graphs. `tff.backends.mapreduce` documents what each piece does.

    Attributes:
      prepare: Server state -> broadcast.
      work: (client data, broadcast) -> (update, three tuples of secure-sum inputs).
      zero: () -> empty accumulator.
      accumulate: (accumulator, update) -> accumulator.
      merge: (accumulator, accumulator) -> accumulator.
      report: Accumulator -> aggregate.
      bitwidths: () -> bitwidths of the secure sums that have a bitwidth.
      max_inputs: () -> largest inputs of the secure sums that have a maximum.
      moduli: () -> moduli of the secure modular sums.
      update: (server state, (aggregate, three tuples of secure sums)) -> (state, output).
      state_type: Type of the server state.
      data_type: Type of one client's data.
      client_values: For each result that is placed at clients, its positions among the flat
        tensors of a client's update.
    """

    prepare: graphs.Graph
    work: graphs.Graph
    zero: graphs.Graph
    accumulate: graphs.Graph
    merge: graphs.Graph
    report: graphs.Graph
    bitwidths: graphs.Graph
    max_inputs: graphs.Graph
    moduli: graphs.Graph
    update: graphs.Graph
    state_type: tff.Type
    data_type: tff.Type
    client_values: tuple[tuple[int, ...], ...]

    @property
    def accumulator_type(self) -> tff.Type:
        """Type of the accumulator. It differs from the type of `zero` if a list in it grows."""
        return self.accumulate.type_of_argument(0)

    @property
    def update_type(self) -> tff.Type:
        """Type of what a client sends in the clear, with its results that are placed at clients."""
        return self.accumulate.type_of_argument(1)

    @property
    def client_value_types(self) -> list[list[tff.Type]]:
        """The types of the flat tensors of each result that is placed at clients."""
        flat = _flat(self.update_type)
        return [[flat[place] for place in places] for places in self.client_values]


class NoFormError(Exception):
    """The computation does not fit the form."""


def compile_round(computation: tff.framework.ConcreteComputation) -> RoundForm:
    """Cuts a federated computation into the pieces of a round.

    The state of the form is the computation's argument at the server. If the computation does not
    return a new state (see `returns_state`), the form returns the state unchanged. A result that
    is placed at clients becomes a zero in the form's output; the clients send its values.

    Raises:
      NoFormError: If the computation has several phases, or does not fit the form for another
        reason.
    """
    signature = computation.type_signature
    try:
        stateful = computation if _fits(signature) else _with_state(computation)
        form = tff.backends.mapreduce.get_map_reduce_form_for_computation(
            stateful, _no_graph_optimizer()
        )
    except Exception as error:  # TFF raises many error classes; some are not public
        raise NoFormError(in_short(error)) from error
    pieces = {
        name: graphs.from_computation(piece)
        for name, piece in (
            ("prepare", form.prepare),
            ("work", form.work),
            ("zero", form.zero),
            ("accumulate", form.accumulate),
            ("merge", form.merge),
            ("report", form.report),
            ("bitwidths", form.secure_sum_bitwidth),
            ("max_inputs", form.secure_sum_max_input),
            ("moduli", form.secure_modular_sum_modulus),
            ("update", form.update),
        )
    }
    compiled = RoundForm(
        **pieces,
        state_type=form.prepare.type_signature.parameter,
        data_type=form.work.type_signature.parameter[0],
        client_values=(),
    )
    if any(isinstance(t, tff.SequenceType) for t in _flat(compiled.accumulator_type)):
        raise NoFormError("the accumulator holds a data set")
    places = tuple(
        tuple(_places_of(compiled.update_type, _client_value_name(number)))
        for number in range(len(list(_client_results(signature.result))))
    )
    return dataclasses.replace(compiled, client_values=places)


def in_short(error: Exception) -> str:
    """Returns the class and the first line of an error; TFF's compiler adds whole trees."""
    first, *_ = [*str(error).splitlines(), ""]
    return f"{type(error).__name__}: {first[:200]}"


def pack_result(
    outputs: Sequence[tf.Tensor],
    clients: Sequence[Sequence[Sequence[tf.Tensor]]],
    signature: tff.FunctionType,
) -> Any:
    """Returns the result of a computation from the results of its form.

    Args:
      outputs: Tensors that the form's `update` returned.
      clients: Flat tensors of each result that is placed at clients, one list per client.
      signature: Type of the computation.
    """
    result_type = signature.result
    remaining = iter(outputs)
    if not returns_state(signature):
        for _ in _flat(state_type(signature)):
            next(remaining)
    values = iter(clients)

    def pack(type_spec: tff.Type) -> Any:
        if isinstance(type_spec, tff.FederatedType):
            if type_spec.placement is tff.CLIENTS:
                next(remaining)  # the zero in its place
                return structures.pack_clients(next(values), type_spec)
            return structures.pack(remaining, type_spec)
        if isinstance(type_spec, tff.StructType):
            packed = [(n, pack(t)) for n, t in tff.structure.iter_elements(type_spec)]
            return tff.structure.Struct(packed)
        return structures.pack(remaining, type_spec)

    return tff.types.type_to_py_container(pack(result_type), result_type)


def _no_graph_optimizer() -> tf.compat.v1.ConfigProto:
    """Returns a setting that does not optimize graphs; TensorFlow optimizes its functions later."""
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return config


def compile_initialization(computation: tff.framework.ConcreteComputation) -> graphs.Graph:
    """Returns the graph of a computation that takes no argument and returns a server state.

    Raises:
      NoFormError: If the computation does anything else.
    """
    try:
        return graphs.from_computation(
            tff.backends.mapreduce.get_state_initialization_computation(
                computation, _no_graph_optimizer()
            )
        )
    except Exception as error:  # see compile_round
        raise NoFormError(in_short(error)) from error


def split_argument(argument: Any, parameter: tff.Type | None) -> tuple[Any, list[Any]]:
    """Splits an argument into the server's part and one part per client.

    Args:
      argument: The argument of the computation.
      parameter: Parameter type of the computation.

    Returns:
      The state and the list of client data, in the types of the form of `compile_round`.

    Raises:
      TypeError: If a value that is placed at clients is not a list.
      ValueError: If two values that are placed at clients have different numbers of clients.
    """
    types = _parameter_types(parameter)
    if parameter is None:
        values: list[Any] = []
    elif isinstance(parameter, tff.FederatedType):
        values = [argument]
    else:
        values = structures.elements(argument, parameter)
    server = [v for v, t in zip(values, types, strict=True) if t.placement is tff.SERVER]
    # A value that is equal at all clients is not a list.
    at_clients = [
        (v if t.all_equal else structures.client_list(v), t.all_equal)
        for v, t in zip(values, types, strict=True)
        if t.placement is tff.CLIENTS
    ]
    size = structures.cohort_size(v for v, all_equal in at_clients if not all_equal)
    columns = [[v] * size if all_equal else v for v, all_equal in at_clients]
    state = server[0] if len(server) == 1 else tuple(server)
    if len(columns) == 1:
        return state, columns[0]
    return state, list(zip(*columns, strict=True))


def state_type(signature: tff.FunctionType) -> tff.Type:
    """Returns the type of the state of a computation's form."""
    server = [t.member for t in _parameter_types(signature.parameter) if t.placement is tff.SERVER]
    return server[0] if len(server) == 1 else tff.to_type(tuple(server))


def returns_state(signature: tff.FunctionType) -> bool:
    """Whether a computation returns a pair: its new state and another result."""
    parameter, result = signature.parameter, signature.result
    if not isinstance(parameter, tff.StructType) or not isinstance(result, tff.StructType):
        return False
    if len(parameter) != 2 or len(result) != 2:
        return False
    placements = [getattr(t, "placement", None) for _, t in tff.structure.iter_elements(parameter)]
    return placements == [tff.SERVER, tff.CLIENTS] and parameter[0].is_assignable_from(result[0])


def _fits(signature: tff.FunctionType) -> bool:
    return returns_state(signature) and not any(_client_results(signature.result))


def _flat(type_spec: tff.Type) -> list[tff.Type]:
    return list(structures.flatten_types(type_spec))


def _parameter_types(parameter: tff.Type | None) -> list[tff.FederatedType]:
    """Returns the types of a computation's arguments, which must all be placed."""
    if parameter is None:
        return []
    types = [parameter]
    if not isinstance(parameter, tff.FederatedType):
        if not isinstance(parameter, tff.StructType):
            raise NoFormError(f"the argument of type {parameter} is not placed")
        types = [t for _, t in tff.structure.iter_elements(parameter)]
    for type_spec in types:
        if not isinstance(type_spec, tff.FederatedType):
            raise NoFormError(f"the argument of type {type_spec} is not placed")
    return types


def _client_results(result: tff.Type) -> Iterator[tff.FederatedType]:
    """Yields the types of the results that are placed at clients."""
    if isinstance(result, tff.FederatedType):
        if result.placement is tff.CLIENTS:
            yield result
    elif isinstance(result, tff.StructType):
        for _, element in tff.structure.iter_elements(result):
            yield from _client_results(element)


def _with_state(
    computation: tff.framework.ConcreteComputation,
) -> tff.framework.ConcreteComputation:
    """Returns a computation (state, client data) -> (state, result).

    If no argument is placed at clients, the client data is an unused number.
    """
    signature = computation.type_signature
    types = _parameter_types(signature.parameter)
    clients = [t.member for t in types if t.placement is tff.CLIENTS]
    if not clients and any(_client_results(signature.result)):
        raise NoFormError("a result is placed at clients, but no argument is")
    num_servers = len(types) - len(clients)
    data_type = clients[0] if len(clients) == 1 else tff.to_type(tuple(clients) or np.int32)
    keeps_state = returns_state(signature)

    @tff.federated_computation(
        tff.FederatedType(state_type(signature), tff.SERVER),
        tff.FederatedType(data_type, tff.CLIENTS),
    )
    def stateful(state: Any, data: Any) -> Any:
        servers = iter([state] if num_servers == 1 else map(state.__getitem__, range(num_servers)))
        columns = iter([data] if len(clients) == 1 else map(data.__getitem__, range(len(clients))))
        arguments = [next(servers if t.placement is tff.SERVER else columns) for t in types]
        result = _aggregating_client_values(computation(*arguments))
        return (result[0], result[1]) if keeps_state else (state, result)

    return stateful


def _aggregating_client_values(result: Any) -> Any:
    """Replaces each value that is placed at clients by an aggregate that ignores it.

    Clients then send the value under a name, by which `_places_of` finds it.
    """
    numbers = iter(range(len(list(_client_results(result.type_signature)))))

    def replace(value: Any) -> Any:
        type_spec = value.type_signature
        if isinstance(type_spec, tff.FederatedType):
            if type_spec.placement is tff.CLIENTS:
                return _ignoring_aggregate(value, _client_value_name(next(numbers)))
            return value
        if isinstance(type_spec, tff.StructType):
            return [replace(value[index]) for index in range(len(type_spec))]
        return value

    return replace(result)


def _ignoring_aggregate(value: Any, name: str) -> Any:
    member = value.type_signature.member
    named_type = tff.to_type(collections.OrderedDict([(name, member)]))

    @tff.tensorflow.computation(member)
    def give_name(value: Any) -> Any:
        return collections.OrderedDict([(name, value)])

    @tff.tensorflow.computation(np.int32, named_type)
    def accumulate(total: tf.Tensor, _: Any) -> tf.Tensor:
        return total

    @tff.tensorflow.computation(np.int32, np.int32)
    def merge(one: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        return one

    @tff.tensorflow.computation(np.int32)
    def report(total: tf.Tensor) -> tf.Tensor:
        return total

    named = tff.federated_map(give_name, value)
    return tff.federated_aggregate(named, np.int32(0), accumulate, merge, report)


def _client_value_name(number: int) -> str:
    return f"placed_at_clients_{number}"


def _places_of(type_spec: tff.Type, name: str) -> Iterator[int]:
    """Yields the positions of the flat tensors of a type that belong to the element of a name."""
    place = 0

    def visit(element: tff.Type, inside: bool) -> Iterator[int]:
        nonlocal place
        if isinstance(element, tff.StructType):
            for own, part in tff.structure.iter_elements(element):
                yield from visit(part, inside or own == name)
        else:
            if inside:
                yield place
            place += 1

    yield from visit(type_spec, inside=False)
