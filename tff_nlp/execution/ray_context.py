"""An execution context that runs the clients of a round in Ray actors, on one or many machines.

The program compiles a round once, prepares the broadcast, merges the sums that the actors send back
and updates the server state. `share_actor` runs the clients in the same way as the streaming
context.
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
    """Runs TFF computations, with the clients of a round on Ray actors.

    The sums over a cohort depend only on the number of actors and the number of lanes per actor.
    They do not depend on the machines or on which actors died. One actor gives the same bits as a
    streaming context with the same number of lanes. Several actors with one lane each give the same
    bits as a streaming context with that many lanes.

    Attributes:
      devices: One device name per lane of all actors.
      pool: The actors.
      limits: Limits at which a round fails.
      lock: Lock that is held while a round runs on the actors.
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
        """Connects to Ray or starts it, and begins to start the actors without waiting for them.

        Args:
          address: "host:port" of a cluster that this machine belongs to, or "auto" for the cluster
            that runs on this machine. Empty uses the cluster that the program is connected to, or
            else starts one on this machine.
          actors: Number of actors. The default is one per GPU, or one per machine without GPUs.
          max_failed_clients: How many clients of a round may fail before the round itself fails.
          max_deaths_of_a_share: The round fails when this many actors have died one after another
            while they ran the same clients.
          start_seconds: How many seconds a round without any actor waits for an actor to start.
          max_client_bytes: Maximum size in bytes of each data set of a client. Data sets pass
            through the memory of this process.
          object_store_bytes: Size in bytes of the object store of a cluster that is started here.
            The default is Ray's own.

        Raises:
          UserError: If an argument is out of range, there is no cluster at the address, or it is
            too small.
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
        """Returns the object that runs the clients of a form."""
        return _ActorCohort(self, form, summands)

    def close(self) -> None:
        """Ends the actors, and the connection to Ray if this context made it.

        The context cannot be used any more.
        """
        _open_contexts.discard(self)
        if not ray.is_initialized():
            return
        if self._connected:
            ray.shutdown()  # this ends the actors, too
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
            raise  # a programming error
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
