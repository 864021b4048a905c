"""What contexts that run TFF's MapReduce form have in common: everything but the clients."""

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
    graphs,
    interpreter,
    lane_runs,
    secure_sums,
    structures,
    worker,
)

_log = logging.getLogger(__name__)


# A computation as it is run: its argument to its result.
Program = Callable[[Any], Any]


class Cohort(Protocol):
    """Runs the clients of every round of one computation."""

    def __call__(
        self, data: Sequence[list[tf.Tensor]], costs: Sequence[int], broadcast: list[tf.Tensor]
    ) -> lane_runs.Sums:
        """Returns the sums of a round, and what its clients return.

        Args:
          data: The flattened data of each client.
          costs: How long each client takes, relative to others.
          broadcast: What every client gets, flattened.
        """


class FormContext(tff.framework.SyncContext, abc.ABC):
    """Compiles TFF computations to the form and runs them; where clients run is left open.

    Several threads may use a context. Rounds of one computation then run one after another, rounds
    of different computations at the same time.

    Attributes:
      max_failed_clients: How many clients of a round may fail.
      failed_clients: Positions of the clients that failed in the last round and were left out.
    """

    def __init__(self, *, max_failed_clients: int = 0) -> None:
        """Initializes the context.

        Args:
          max_failed_clients: How many clients of a round may raise before the round does; the
            round goes on without them, as without a device that dropped out.
        """
        if max_failed_clients < 0:
            raise errors.UserError(f"--max_failed_clients={max_failed_clients}: must be 0 or more")
        self.failed_clients: tuple[int, ...] = ()
        self.max_failed_clients = max_failed_clients
        # By the id of a computation that lives; what it was compiled to lives as long. None for
        # what TFF's own worker runs.
        self._programs: dict[int, Program | None] = {}
        self._compiling = threading.RLock()
        self._worker: tff.framework.SyncContext | None = None

    @abc.abstractmethod
    def cohort(self, form: forms.RoundForm, summands: Sequence[secure_sums.Summand]) -> Cohort:
        """Returns what runs the clients of a form.

        Args:
          form: The round.
          summands: Its secure sums.
        """

    def map_clients(self, function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
        """Runs a function for each client of a computation that is no single round."""
        return [function(argument) for argument in arguments]

    @property
    def secure_protocols(self) -> secure_sums.Protocols | None:
        """What adds up secure sums; None for in the clear."""
        return None

    def invoke(self, comp: tff.framework.ConcreteComputation, arg: Any) -> Any:
        """Runs a computation; called by TFF."""
        program = self._program(comp)
        return self._run_in_worker(comp, arg) if program is None else program(arg)

    def form(self, comp: tff.framework.ConcreteComputation) -> forms.RoundForm | None:
        """Returns a computation as it is compiled here, or None if it is not a round.

        It is compiled once, for this and for running it.
        """
        program = self._program(comp)
        return program.form if isinstance(program, _Round) else None

    def _program(self, comp: tff.framework.ConcreteComputation) -> Program | None:
        with self._compiling:
            if id(comp) not in self._programs:
                program = self._compile(comp)
                self._programs[id(comp)] = program
                # Before another computation can get the id.
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
                _log.debug("not a server's state (%s)", error)
        try:
            return _Round(self, forms.compile_round(comp), signature)
        except forms.NoFormError as error:
            _log.info("not a single round, so it runs step by step (%s)", error)
        try:
            return interpreter.Interpreter(comp, self.map_clients, self.secure_protocols)
        except interpreter.UnsupportedError as error:
            _log.info("TFF's own worker runs what is not run here: %s", error)
            return None

    def note_failures(self, failures: Sequence[lane_runs.ClientError]) -> None:
        """Reports the clients of a round that failed.

        Raises:
          ClientError: If they are more than allowed; the first of them.
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
      form: Its pieces.
      cohort: What runs its clients.
    """

    def __init__(
        self, context: FormContext, form: forms.RoundForm, signature: tff.FunctionType
    ) -> None:
        self.form = form
        self.cohort = context.cohort(form, secure_sums.summands_of(form))
        self._signature = signature
        self._prepare = graphs.wrap(form.prepare)
        self._report = graphs.wrap(form.report)
        self._update = graphs.wrap(form.update)
        # The accumulators of a round are those of the next one.
        self._lock = threading.Lock()

    def __call__(self, arg: Any) -> Any:
        """Runs the round."""
        server, clients = forms.split_argument(arg, self._signature.parameter)
        state = structures.flatten(server, self.form.state_type)
        data = [_flatten_client(p, c, self.form.data_type) for p, c in enumerate(clients)]
        costs = [lane_runs.cost(client) for client in clients]
        with self._lock:
            sums = self.cohort(data, costs, self._prepare(state))
            outputs = self._update([*state, *self._report(sums.accumulator), *sums.secure])
        values = [
            [sums.client_values[position][number] for position in sorted(sums.client_values)]
            for number in range(len(self.form.client_values))
        ]
        return forms.pack_result(outputs, values, self._signature)


def _flatten_client(position: int, client: Any, data_type: tff.Type) -> list[tf.Tensor]:
    try:
        return structures.flatten(client, data_type)
    except TypeError as error:
        raise TypeError(f"client {position}: {error}") from error
