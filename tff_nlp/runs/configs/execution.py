"""Where rounds run."""

import dataclasses
import importlib.util

from tff_nlp.runs import checks
from tff_nlp.runs.options import option

# A copy of `execution.contexts.CONTEXTS`, so that a mistake is found before TensorFlow is imported.
# A test compares the two.
CONTEXTS = ("streaming", "ray", "tff")
# The options that only some contexts use, and these contexts.
_CONTEXTS_OF = {
    "devices": ("streaming",),
    "max_failed_clients": ("streaming", "ray"),
    "ray_address": ("ray",),
    "ray_actors": ("ray",),
}


@dataclasses.dataclass(frozen=True)
class ExecutionConfig:
    """Where rounds run."""

    context: str = option(
        "streaming",
        "Where rounds run: in this process, in Ray actors, or in TFF's worker.",
        CONTEXTS,
    )
    devices: str = option(
        "",
        "TensorFlow devices, separated by commas. Each runs one client at a time; empty: all.",
    )
    max_failed_clients: int = option(
        0, "Number of clients that may fail in a round. With more failures, the round fails."
    )
    ray_address: str = option(
        "",
        "host:port of a Ray cluster that this machine belongs to, or auto; empty: start a cluster.",
    )
    ray_actors: int | None = option(
        None, "Number of Ray actors; empty: one per GPU, or one per machine without GPUs."
    )

    def __post_init__(self) -> None:
        checks.at_least(0, "max_failed_clients", self.max_failed_clients)
        checks.at_least(1, "ray_actors", self.ray_actors)
        for name, context in _CONTEXTS_OF.items():
            if getattr(self, name) and self.context not in context:
                owners = " and ".join(f"`context`={c}" for c in context)
                checks.refuse(name, getattr(self, name), f"only {owners} can use it")
        if self.context == "ray" and importlib.util.find_spec("ray") is None:
            why = "Ray is not installed; EXTRAS=ray scripts/setup adds it"
            checks.refuse("context", "ray", why)
