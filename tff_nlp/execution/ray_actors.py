"""Starts the Ray actors of a context, and replaces those that die."""

import dataclasses
import logging
from typing import Any

import ray
import ray.exceptions

from tff_nlp import errors
from tff_nlp.execution import ray_cluster, share_actor

_log = logging.getLogger(__name__)

# Errors that Ray raises when an actor, its machine, or a result on that machine is lost.
LOST = (
    ray.exceptions.RayActorError,
    ray.exceptions.ActorUnschedulableError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.WorkerCrashedError,
)

# Without a limit, a machine that cannot start actors would make the program try for ever.
_MAX_FAILED_STARTS = 3


@dataclasses.dataclass(eq=False)
class Actor:
    """An actor, which may not have started yet.

    Attributes:
      number: Number of the actor, from 0. Its replacement has the same number.
      handle: Ray's handle of the actor.
      started: Reference to the actor's `share_actor.Hello`, which is ready when it has started.
      hello: The actor's `share_actor.Hello`, or None before it has started.
      forms: Keys of the forms that the actor has.
    """

    number: int
    handle: Any
    started: ray.ObjectRef
    hello: share_actor.Hello | None = None
    forms: set[int] = dataclasses.field(default_factory=set)

    def __str__(self) -> str:
        if self.hello is None:
            return f"actor {self.number}"
        return f"actor {self.number} (process {self.hello.pid} on {self.hello.host})"


class Pool:
    """The actors of a plan. Dead actors are replaced.

    Attributes:
      plan: How the cluster is divided.
      actors: The actors, ordered by number.
    """

    def __init__(self, plan: ray_cluster.Plan) -> None:
        """Begins to start the actors, and does not wait for them."""
        self.plan = plan
        self._failed_starts = 0
        self.actors = [self._start(number) for number in range(plan.actors)]

    def welcome(self, actor: Actor, hello: share_actor.Hello) -> None:
        """Stores that an actor has started.

        Raises:
          RunError: If the actor was given a GPU and TensorFlow does not find it.
        """
        if not hello.devices:
            raise errors.RunError(
                f"Ray gave actor {actor.number} a GPU of {hello.host}, but TensorFlow finds no GPU "
                "there: run EXTRAS=gpu scripts/setup, or start Ray with --num-gpus=0"
            )
        actor.hello = hello
        self._failed_starts = 0
        _log.info("Ray %s is ready: %d clients at a time", actor, len(hello.devices))

    def replace(self, actor: Actor, error: Exception) -> Actor:
        """Replaces a lost actor.

        Args:
          actor: The lost actor. It is ended if it still runs.
          error: The error that Ray raised.

        Returns:
          The new actor, which may not have started yet.

        Raises:
          RunError: If several actors in a row died while they started.
        """
        if actor.hello is None:
            self._failed_starts += 1
            if self._failed_starts >= _MAX_FAILED_STARTS:
                raise errors.RunError(
                    f"{self._failed_starts} Ray actors in a row could not start: {reason(error)}"
                ) from error
        ray.kill(actor.handle)
        new = self._start(actor.number)
        self.actors[actor.number] = new
        return new

    def forget(self, key: int) -> None:
        """Deletes a form that is no longer used from the actors."""
        if not ray.is_initialized():
            return
        for actor in self.actors:
            if key in actor.forms:
                actor.forms.discard(key)
                actor.handle.forget.remote(key)

    def close(self) -> None:
        """Ends the actors."""
        for actor in self.actors:
            ray.kill(actor.handle)
        self.actors = []

    def _start(self, number: int) -> Actor:
        plan = self.plan
        options: dict[str, Any] = {
            "num_cpus": plan.cpus,
            "num_gpus": plan.gpus,
            "max_restarts": 0,
            "max_task_retries": 0,
            # Each lane has one thread, which runs its calls in order. All other calls share one
            # more thread.
            "concurrency_groups": {group(lane): 1 for lane in range(plan.lanes)},
        }
        actor_class: Any = ray.remote(**options)(share_actor.ShareActor)
        handle = actor_class.remote(
            num_lanes=plan.lanes, threads=max(plan.cpus, 1), gpu=plan.gpus > 0
        )
        return Actor(number, handle, handle.hello.remote())


def group(lane: int) -> str:
    """Returns the name of the concurrency group of a lane."""
    return f"lane_{lane}"


def reason(error: Exception) -> str:
    """Returns one line that says why Ray lost an actor, as a part of a marked text."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # When a machine has too little memory, Ray's message ends with general advice.
    causes = [
        line for line in lines if line.startswith(("Memory on the node", "The actor is dead"))
    ]
    chosen = (causes or lines[-1:] or [type(error).__name__])[0]
    return errors.verbatim(chosen.partition(" Some common causes")[0])
