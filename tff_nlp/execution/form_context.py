"""What contexts that run TFF's MapReduce form have in common: everything but the clients."""

import abc
import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp import errors
from tff_nlp.execution import forms, graphs, lane_runs, secure_sums, structures, worker

_log = logging.getLogger(__name__)


class Cohort(Protocol):
    """Runs the clients of every round of one computation."""

    def __call__(
        self, data: Sequence[list[tf.Tensor]], costs: Sequence[int], broadcast: list[tf.Tensor]
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Returns the accumulator and the secure sums of a round.

        Args:
          data: The flattened data of each client.
          costs: How long each client takes, relative to others.
          broadcast: What every client gets, flattened.
        """


class FormContext(tff.framework.SyncContext, abc.ABC):
    """Compiles TFF computations to the form and runs them; where clients run is left open.

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
        self._programs: dict[int, tuple[Any, Callable[[Any], Any]]] = {}
        self._worker: tff.framework.SyncContext | None = None

    @abc.abstractmethod
    def cohort(self, form: forms.RoundForm, summands: Sequence[secure_sums.Summand]) -> Cohort:
        """Returns what runs the clients of a form.

        Args:
          form: The round.
          summands: Its secure sums.
        """

    def invoke(self, comp: tff.framework.ConcreteComputation, arg: Any) -> Any:
        """Runs a computation; called by TFF."""
        return self._program(comp)(arg)

    def form(self, comp: tff.framework.ConcreteComputation) -> forms.RoundForm | None:
        """Returns a computation as it is compiled here, or None if it is not a round.

        It is compiled once, for this and for running it.
        """
        program = self._program(comp)
        return program.form if isinstance(program, _Round) else None

    def _program(self, comp: tff.framework.ConcreteComputation) -> Callable[[Any], Any]:
        if id(comp) not in self._programs:
            # The computation is kept, so that no other one can get its id.
            self._programs[id(comp)] = (comp, self._compile(comp))
        return self._programs[id(comp)][1]

    def _compile(self, comp: tff.framework.ConcreteComputation) -> Callable[[Any], Any]:
        if graphs.is_tensorflow(comp):
            return _local_program(graphs.from_computation(comp), comp.type_signature.result)
        try:
            if comp.type_signature.parameter is None:
                graph = forms.compile_initialization(comp)
                return _local_program(graph, comp.type_signature.result)
            form = forms.compile_round(comp)
        except forms.NoFormError as error:
            _log.info("not a single round, so TFF's own worker runs it (%s)", error)
            return lambda arg: self._run_in_worker(comp, arg)
        return _Round(self, form, comp.type_signature.parameter)

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
        if self._worker is None:
            self._worker = worker.worker_context()
        return self._worker.invoke(comp, arg)


def _local_program(graph: graphs.Graph, result_type: tff.Type) -> Callable[[Any], Any]:
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

    def __init__(self, context: FormContext, form: forms.RoundForm, parameter: tff.Type) -> None:
        self.form = form
        self.cohort = context.cohort(form, secure_sums.summands_of(form))
        self._parameter = parameter
        self._prepare = graphs.wrap(form.prepare)
        self._report = graphs.wrap(form.report)
        self._update = graphs.wrap(form.update)

    def __call__(self, arg: Any) -> Any:
        """Runs the round."""
        server, clients = forms.split_argument(arg, self._parameter)
        if not isinstance(clients, (list, tuple)):
            raise TypeError(f"expected a list with one value per client, found {type(clients)}")
        state = structures.flatten(server, self.form.state_type)
        data = [_flatten_client(p, c, self.form.data_type) for p, c in enumerate(clients)]
        costs = [lane_runs.cost(client) for client in clients]
        accumulator, secure = self.cohort(data, costs, self._prepare(state))
        outputs = iter(self._update([*state, *self._report(accumulator), *secure]))
        if not self.form.returns_state:
            for _ in state:
                next(outputs)
        return structures.pack(outputs, self.form.result_type)


def _flatten_client(position: int, client: Any, data_type: tff.Type) -> list[tf.Tensor]:
    try:
        return structures.flatten(client, data_type)
    except TypeError as error:
        raise TypeError(f"client {position}: {error}") from error
