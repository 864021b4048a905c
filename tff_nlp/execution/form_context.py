"""The base class of the contexts that run TFF's MapReduce form.

It does everything except running the clients, which each context does in its own way.
"""

import abc
import logging
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp import errors
from tff_nlp.execution import (
    forms,
    freed_memory,
    graphs,
    interpreter,
    lane_runs,
    secure_sums,
    structures,
    worker,
)

_log = logging.getLogger(__name__)


# A compiled computation: takes the argument and returns the result.
Program = Callable[[Any], Any]


class Cohort(Protocol):
    """Runs the clients of every round of one computation."""

    def __call__(
        self, data: Sequence[list[tf.Tensor]], costs: Sequence[int], broadcast: list[tf.Tensor]
    ) -> lane_runs.Sums:
        """Returns the sums of a round and the values that its clients return.

        Args:
          data: The flattened data of each client.
          costs: Relative running time of each client.
          broadcast: The flattened values that the server sends to every client.
        """


class FormContext(tff.framework.SyncContext, abc.ABC):
    """Compiles TFF computations to the form and runs them. Subclasses decide where clients run.

    Several threads may use a context. Rounds of the same computation then run one after another;
    rounds of different computations run at the same time.

    Attributes:
      max_failed_clients: How many clients of a round may fail before the round itself fails.
      failed_clients: Positions of the clients that failed in the last round and were left out.
    """

    def __init__(self, *, max_failed_clients: int = 0) -> None:
        """Initializes the context.

        Args:
          max_failed_clients: How many clients of a round may fail before the round itself fails.
            The round goes on without them, as without a device that dropped out.

        Raises:
          UserError: If `max_failed_clients` is negative.
        """
        if max_failed_clients < 0:
            raise errors.UserError(f"`max_failed_clients`={max_failed_clients}: must be 0 or more")
        self.failed_clients: tuple[int, ...] = ()
        self.max_failed_clients = max_failed_clients
        # The compiled program of each computation, by the id of the computation. An entry is
        # removed when its computation is deleted. None if TFF's own worker runs the computation.
        self._programs: dict[int, Program | None] = {}
        self._compiling = threading.RLock()
        self._worker: tff.framework.SyncContext | None = None

    @abc.abstractmethod
    def cohort(self, form: forms.RoundForm, summands: Sequence[secure_sums.Summand]) -> Cohort:
        """Returns the object that runs the clients of a form.

        Args:
          form: The compiled round.
          summands: The secure sums of the round.
        """

    def flatten_client(self, position: int, client: Any, form: forms.RoundForm) -> list[Any]:
        """Returns what a cohort receives of a client: its flattened data.

        Args:
          position: Position of the client in the round.
          client: The client's data.
          form: The compiled round.

        Raises:
          TypeError: If the data do not have the type of the round.
        """
        try:
            return structures.flatten(client, form.data_type)
        except TypeError as error:
            raise TypeError(f"client {position}: {error}") from error

    def map_clients(self, function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
        """Runs a function once per client, for a computation that is not a single round."""
        return [function(argument) for argument in arguments]

    @property
    def secure_protocols(self) -> secure_sums.Protocols | None:
        """The protocol that computes secure sums. None adds the values in the clear."""
        return None

    def invoke(self, comp: tff.framework.ConcreteComputation, arg: Any) -> Any:
        """Runs a computation. TFF calls this method."""
        program = self._program(comp)
        return self._run_in_worker(comp, arg) if program is None else program(arg)

    def form(self, comp: tff.framework.ConcreteComputation) -> forms.RoundForm | None:
        """Returns the compiled form of a computation, or None if it is not a single round.

        The computation is compiled only once, also when it runs later.
        """
        program = self._program(comp)
        return program.form if isinstance(program, _Round) else None

    def _program(self, comp: tff.framework.ConcreteComputation) -> Program | None:
        with self._compiling:
            if id(comp) not in self._programs:
                program = self._compile(comp)
                self._programs[id(comp)] = program
                # Removes the entry before another computation can get the same id.
                weakref.finalize(comp, self._programs.pop, id(comp), None).atexit = False
            return self._programs[id(comp)]

    def _compile(self, comp: tff.framework.ConcreteComputation) -> Program | None:
        signature = comp.type_signature
        if graphs.is_tensorflow(comp):
            return _local_program(graphs.from_computation(comp), signature.result)
        if signature.parameter is None:
            try:
                graph = forms.compile_initialization(comp)
                return _local_program(graph, signature.result)
            except forms.NoFormError as error:
                _log.debug("the computation does not only make a server state (%s)", error)
        try:
            return _Round(self, forms.compile_round(comp), signature)
        except forms.NoFormError as error:
            _log.info("the computation is not a single round, so it runs step by step (%s)", error)
        try:
            return interpreter.Interpreter(comp, self.map_clients, self.secure_protocols)
        except interpreter.UnsupportedError as error:
            _log.info("TFF's own worker runs the computation: %s is not supported here", error)
            return None

    def note_failures(self, failures: Sequence[lane_runs.ClientError]) -> None:
        """Stores and logs the clients of a round that failed.

        Raises:
          ClientError: The error of the first failed client, if more clients failed than allowed.
        """
        ordered = sorted(failures, key=lambda f: f.position)
        self.failed_clients = tuple(f.position for f in ordered)
        if len(ordered) > self.max_failed_clients:
            raise ordered[0]
        for failure in ordered:
            _log.warning("%s; the round goes on without it", failure)

    def _run_in_worker(self, comp: tff.framework.ConcreteComputation, arg: Any) -> Any:
        with self._compiling:
            if self._worker is None:
                self._worker = worker.worker_context()
        return self._worker.invoke(comp, arg)


def _local_program(graph: graphs.Graph, result_type: tff.Type) -> Program:
    run = graphs.wrap(graph)
    parameter_type = graph.parameter_type

    def program(arg: Any) -> Any:
        return structures.pack(iter(run(structures.flatten(arg, parameter_type))), result_type)

    return program


class _Round:
    """A compiled round.

    Attributes:
      form: The pieces of the round.
      cohort: Runs the clients of the round.
    """

    def __init__(
        self, context: FormContext, form: forms.RoundForm, signature: tff.FunctionType
    ) -> None:
        self.form = form
        self.cohort = context.cohort(form, secure_sums.summands_of(form))
        self._flatten = context.flatten_client
        self._signature = signature
        self._prepare = graphs.wrap(form.prepare)
        self._report = graphs.wrap(form.report)
        self._update = graphs.wrap(form.update)
        # All rounds use the same accumulators.
        self._lock = threading.Lock()

    def __call__(self, arg: Any) -> Any:
        """Runs the round."""
        server, clients = forms.split_argument(arg, self._signature.parameter)
        state = structures.flatten(server, self.form.state_type)
        data = [self._flatten(p, c, self.form) for p, c in enumerate(clients)]
        costs = [lane_runs.cost(client) for client in clients]
        with self._lock:
            sums = self.cohort(data, costs, self._prepare(state))
            outputs = self._update([*state, *self._report(sums.accumulator), *sums.secure])
        values = [
            [sums.client_values[position][number] for position in sorted(sums.client_values)]
            for number in range(len(self.form.client_values))
        ]
        freed_memory.give_back()
        return forms.pack_result(outputs, values, self._signature)
