"""The Ray actors of a context: started, and replaced when they die."""

import dataclasses
import logging
from typing import Any

import ray
import ray.exceptions

from tff_nlp import errors
from tff_nlp.execution import ray_cluster, share_actor

_log = logging.getLogger(__name__)

# What Ray raises when an actor, its machine, or a result that lay there is gone.
LOST = (
    ray.exceptions.RayActorError,
    ray.exceptions.ActorUnschedulableError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.WorkerCrashedError,
)

# A machine on which actors cannot start would end them for ever.
_MAX_FAILED_STARTS = 3


@dataclasses.dataclass(eq=False)
class Actor:
    """An actor, which may not have started yet.

    Attributes:
      number: Its place among the actors, from 0; one that replaces it has the same.
      handle: Ray's.
      started: What Ray answers with a `share_actor.Hello` when it has started.
      hello: The answer.
      forms: Keys of the forms that it has.
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
    """As many actors as the plan says, dead ones replaced.

    Attributes:
      plan: How the cluster is divided.
      actors: One per number.
    """

    def __init__(self, plan: ray_cluster.Plan) -> None:
        """Has the actors started, without waiting for them."""
        self.plan = plan
        self._failed_starts = 0
        self.actors = [self._start(number) for number in range(plan.actors)]

    def welcome(self, actor: Actor, hello: share_actor.Hello) -> None:
        """Notes that an actor has started.

        Raises:
          RunError: If it cannot do its work.
        """
        if not hello.devices:
            raise errors.RunError(
                f"Ray gave actor {actor.number} a GPU of {hello.host}, but TensorFlow finds none "
                "there: EXTRAS=gpu scripts/setup, or start Ray with --num-gpus=0"
            )
        actor.hello = hello
        self._failed_starts = 0
        _log.info("Ray %s is ready: %d clients at a time", actor, len(hello.devices))

    def replace(self, actor: Actor, error: Exception) -> Actor:
        """Replaces an actor that is lost.

        Args:
          actor: The actor; if it runs after all, it is ended.
          error: What Ray said.

        Raises:
          RunError: If several actors in a row died as they started.
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
        """Has the actors drop a form that is not used any more."""
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
            # One thread per lane, which takes its calls in order; the other calls have one, too.
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
    """Returns in one line why Ray lost an actor."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # Where a machine has too little memory, advice follows what happened.
    telling = [
        line for line in lines if line.startswith(("Memory on the node", "The actor is dead"))
    ]
    chosen = (telling or lines[-1:] or [type(error).__name__])[0]
    return chosen.partition(" Some common causes")[0]
