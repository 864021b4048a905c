"""Computations cut into the pieces of TFF's MapReduce form."""

import dataclasses
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp.execution import graphs


@dataclasses.dataclass(frozen=True)
class RoundForm:
    """One round as graphs; `tff.backends.mapreduce` documents what each piece does.

    Attributes:
      prepare: Server state to what is broadcast.
      work: (client data, broadcast) to (update, three tuples of secure-sum inputs).
      zero: To an empty accumulator.
      accumulate: (accumulator, update) to accumulator.
      merge: (accumulator, accumulator) to accumulator.
      report: Accumulator to aggregate.
      bitwidths: To the bitwidths of the secure sums of that kind.
      max_inputs: To the largest inputs of the secure sums of that kind.
      moduli: To the moduli of the secure modular sums.
      update: (server state, (aggregate, three tuples of secure sums)) to (state, output).
      state_type: Of the server state.
      data_type: Of one client's data.
      result_type: Of the computation's result, with its Python containers.
      returns_state: Whether the computation returns the state first; otherwise the state was
        added to make the form fit and is dropped from the result.
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
    result_type: tff.Type
    returns_state: bool


class NoFormError(Exception):
    """The computation does not fit the form."""


def compile_round(computation: tff.framework.ConcreteComputation) -> RoundForm:
    """Cuts a federated computation into the pieces of a round.

    Computations of another signature than (server state, client data) -> (server state, output)
    get a state that holds their server arguments, or nothing, and is passed through.

    Raises:
      NoFormError: If the computation has several phases or another reason not to fit.
    """
    signature = computation.type_signature
    returns_state = _is_stateful(signature)
    try:
        stateful = computation if returns_state else _with_state(computation)
        form = tff.backends.mapreduce.get_map_reduce_form_for_computation(
            stateful, _no_graph_optimizer()
        )
    except Exception as error:  # TFF raises many kinds, some of its own and not public
        raise NoFormError(f"{type(error).__name__}: {error}") from error
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
    return RoundForm(
        **pieces,
        state_type=form.prepare.type_signature.parameter,
        data_type=form.work.type_signature.parameter[0],
        result_type=signature.result,
        returns_state=returns_state,
    )


def _no_graph_optimizer() -> tf.compat.v1.ConfigProto:
    """Returns the setting that leaves graphs as they are; TensorFlow optimizes its functions."""
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return config


def compile_initialization(computation: tff.framework.ConcreteComputation) -> graphs.Graph:
    """Returns the graph of a computation without argument that makes a server state.

    Raises:
      NoFormError: If the computation is not of that kind.
    """
    try:
        return graphs.from_computation(
            tff.backends.mapreduce.get_state_initialization_computation(
                computation, _no_graph_optimizer()
            )
        )
    except Exception as error:  # see compile_round
        raise NoFormError(f"{type(error).__name__}: {error}") from error


def split_argument(argument: Any, parameter: tff.Type) -> tuple[Any, Any]:
    """Returns the server's and the clients' part of an argument, as `compile_round` expects them.

    Args:
      argument: What the computation was called with.
      parameter: The computation's own parameter type.
    """
    if isinstance(parameter, tff.FederatedType):
        return (), argument
    elements = (
        [value for _, value in tff.structure.iter_elements(argument)]
        if isinstance(argument, tff.structure.Struct)
        else list(argument)
    )
    placements = [t.placement for _, t in tff.structure.iter_elements(parameter)]
    server = [v for v, p in zip(elements, placements, strict=True) if p is tff.SERVER]
    clients = [v for v, p in zip(elements, placements, strict=True) if p is tff.CLIENTS]
    if placements == [tff.SERVER, tff.CLIENTS]:
        return server[0], clients[0]
    return tuple(server), clients[0] if len(clients) == 1 else list(zip(*clients, strict=True))


def _is_stateful(signature: tff.FunctionType) -> bool:
    parameter, result = signature.parameter, signature.result
    if not isinstance(parameter, tff.StructType) or not isinstance(result, tff.StructType):
        return False
    if len(parameter) != 2 or len(result) != 2:
        return False
    placements = [getattr(t, "placement", None) for _, t in tff.structure.iter_elements(parameter)]
    return placements == [tff.SERVER, tff.CLIENTS] and parameter[0].is_assignable_from(result[0])


def _with_state(
    computation: tff.framework.ConcreteComputation,
) -> tff.framework.ConcreteComputation:
    parameter = computation.type_signature.parameter
    if isinstance(parameter, tff.FederatedType):
        types = [parameter]
    else:
        types = [t for _, t in tff.structure.iter_elements(parameter)]
    server = [t.member for t in types if t.placement is tff.SERVER]
    clients = [t.member for t in types if t.placement is tff.CLIENTS]
    if not clients:
        raise NoFormError("the computation has no clients")
    pair = [t.placement for t in types] == [tff.SERVER, tff.CLIENTS]
    state_type = tff.to_type(server[0] if pair else tuple(server))
    data_type = clients[0] if len(clients) == 1 else tff.to_type(tuple(clients))

    @tff.federated_computation(
        tff.FederatedType(state_type, tff.SERVER), tff.FederatedType(data_type, tff.CLIENTS)
    )
    def stateful(state: Any, data: Any) -> Any:
        if pair:
            return state, computation(state, data)
        arguments, server_index, client_index = [], 0, 0
        for member in types:
            if member.placement is tff.SERVER:
                arguments.append(state[server_index])
                server_index += 1
            else:
                arguments.append(data if len(clients) == 1 else data[client_index])
                client_index += 1
        return state, computation(*arguments)

    return stateful
