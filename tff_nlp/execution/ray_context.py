"""An execution context that runs the clients of a round in Ray actors, on one or many machines.

The program compiles a round once, prepares what is broadcast, merges what the actors send back and
updates the server's state; `share_actor` runs the clients as the streaming context does.
"""

import atexit
import itertools
import threading
import weakref
from collections.abc import Sequence

import ray
import ray.exceptions
import tensorflow as tf

from tff_nlp import errors
from tff_nlp.execution import (
    form_context,
    forms,
    graphs,
    lane_runs,
    lanes,
    ray_actors,
    ray_cluster,
    ray_round,
    secure_sums,
    share_actor,
    structures,
    transport,
)

_keys = itertools.count()


class RayContext(form_context.FormContext):
    """Runs TFF computations, the clients of a round on Ray actors.

    The sums over a cohort depend on the number of actors and of lanes in each, and on nothing
    else: neither on the machines nor on who died. One actor gives the bits of a streaming context
    with its lanes; actors of one lane each give those of a streaming context with as many.

    Attributes:
      devices: One name per lane of the actors.
      pool: The actors.
      limits: When a round is given up.
      lock: Held while a round runs on the actors.
    """

    def __init__(
        self,
        address: str = "",
        *,
        actors: int | None = None,
        max_failed_clients: int = 0,
        max_deaths_of_a_share: int = 3,
        start_seconds: float = 300.0,
        max_client_bytes: int = 1 << 30,
        object_store_bytes: int | None = None,
    ) -> None:
        """Connects to Ray, or starts it, and has the actors started; they are not waited for.

        Args:
          address: "host:port" of the cluster that this machine belongs to, or "auto"; empty for
            one of its own on this machine, or the one that the program is connected to.
          actors: How many; by default one per GPU, or without GPUs one per machine.
          max_failed_clients: How many clients of a round may raise before the round does.
          max_deaths_of_a_share: So many actors may die one after another while they run the same
            clients; then the round ends.
          start_seconds: How long a round waits for an actor when it has none.
          max_client_bytes: How much a client's data sets may hold; they pass through the memory
            of this process.
          object_store_bytes: Size of the object store of a cluster that is started here; by
            default Ray's own.

        Raises:
          UserError: If there is no such cluster or it is too small.
        """
        super().__init__(max_failed_clients=max_failed_clients)
        self.lock = threading.Lock()
        self._connected = ray_cluster.connect(address, object_store_bytes=object_store_bytes)
        _open_contexts.add(self)
        try:
            plan = ray_cluster.plan(ray_cluster.machines(), actors)
            if plan.gpus:
                share_actor.let_gpu_memory_grow()
            self.devices = plan.devices
            self.pool = ray_actors.Pool(plan)
        except BaseException:
            self.close()
            raise
        self.limits = ray_round.Limits(max_deaths_of_a_share, start_seconds, max_client_bytes)

    def cohort(
        self, form: forms.RoundForm, summands: Sequence[secure_sums.Summand]
    ) -> form_context.Cohort:
        """Returns what runs the clients of a form."""
        return _ActorCohort(self, form, summands)

    def close(self) -> None:
        """Ends the actors, and Ray if it was started here; the context cannot be used any more."""
        _open_contexts.discard(self)
        if not ray.is_initialized():
            return
        if self._connected:
            ray.shutdown()  # with it go the actors
        elif hasattr(self, "pool"):
            self.pool.close()


_open_contexts: "weakref.WeakSet[RayContext]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for context in list(_open_contexts):
        context.close()


class _ActorCohort:
    """Runs the clients of a form on actors."""

    def __init__(
        self,
        context: RayContext,
        form: forms.RoundForm,
        summands: Sequence[secure_sums.Summand],
    ) -> None:
        self._context = context
        self._form = form
        self._summands = summands
        self._key = next(_keys)
        self._packed = ray.put(transport.pack_form(form, summands))
        self._merge = graphs.wrap(form.merge)
        self._in_order = not lanes.adds_only(form)
        weakref.finalize(self, context.pool.forget, self._key).atexit = False

    def __call__(
        self, data: Sequence[list[tf.Tensor]], costs: Sequence[int], broadcast: list[tf.Tensor]
    ) -> lane_runs.Sums:
        """Runs the clients of a round."""
        try:
            # An actor runs one share at a time.
            with self._context.lock:
                return self._run(data, costs, broadcast)
        except ray.exceptions.RayTaskError:
            raise  # a defect
        except ray.exceptions.RayError as error:
            raise errors.RunError(f"Ray: {ray_actors.reason(error)}") from error

    def _run(
        self, data: Sequence[list[tf.Tensor]], costs: Sequence[int], broadcast: list[tf.Tensor]
    ) -> lane_runs.Sums:
        context, plan = self._context, self._context.pool.plan
        sent_types = structures.flatten_types(self._form.prepare.result_type)
        work = ray_round.Work(
            self._key,
            self._packed,
            ray.put(transport.to_arrays(broadcast, sent_types)),
            data,
            list(structures.flatten_types(self._form.data_type)),
        )
        round_ = ray_round.Round(
            context.pool,
            work,
            ray_round.shares(costs, plan.actors, plan.lanes, in_order=self._in_order),
            context.limits,
            max_failed_clients=context.max_failed_clients,
        )
        total: lane_runs.Sums | None = None
        for arrays in round_.sums():
            sums = share_actor.to_tensors(arrays, self._form)
            total = sums if total is None else self._add(total, sums)
        context.note_failures(round_.failures)
        if total is None:
            empty = graphs.wrap(self._form.zero)([])
            return lane_runs.Sums(empty, secure_sums.zero(self._summands), {})
        return total

    def _add(self, one: lane_runs.Sums, other: lane_runs.Sums) -> lane_runs.Sums:
        return lane_runs.Sums(
            self._merge([*one.accumulator, *other.accumulator]),
            secure_sums.add(self._summands, one.secure, other.secure),
            one.client_values | other.client_values,
        )
