"""The execution contexts by name."""

import dataclasses
import gc
from collections.abc import Sequence

import tensorflow_federated as tff

from tff_nlp import errors
from tff_nlp.execution import form_context, forms, ledger, secure_sums, streaming, worker

CONTEXTS = ("streaming", "ray", "tff")


@dataclasses.dataclass(frozen=True)
class RayOptions:
    """Of the context "ray".

    Attributes:
      address: "host:port" of a cluster that this machine belongs to, or "auto"; empty starts one
        on this machine.
      actors: How many; by default one per GPU, or without GPUs one per machine.
    """

    address: str = ""
    actors: int | None = None


def install(
    name: str,
    devices: Sequence[str] = (),
    *,
    max_failed_clients: int = 0,
    ray_options: RayOptions | None = None,
    protocols: secure_sums.Protocols | None = None,
) -> tff.framework.SyncContext:
    """Makes a context TFF's default one and returns it.

    Args:
      name: "streaming" (this process), "ray" (Ray actors) or "tff" (TFF's own worker).
      devices: Of "streaming": one TensorFlow device name per lane; empty for the default.
      max_failed_clients: Of "streaming" and "ray": how many clients of a round may fail before it
        does.
      ray_options: Of "ray".
      protocols: Of "streaming": adds up secure sums; None adds them in the clear.

    Raises:
      UserError: If the name is unknown, an option is not for this context, or Ray is not
        installed or cannot be reached.
    """
    if name not in CONTEXTS:
        raise errors.UserError(f"--context={name}: choose one of {', '.join(CONTEXTS)}")
    for option, value, owners in (
        ("devices", devices, ("streaming",)),
        ("max_failed_clients", max_failed_clients, ("streaming", "ray")),
        ("ray_address and --ray_actors", ray_options, ("ray",)),
        ("secure_aggregation=masked", protocols, ("streaming",)),
    ):
        if value and name not in owners:
            raise errors.UserError(f"--context={name}: has no --{option}")
    context: tff.framework.SyncContext
    if name == "streaming":
        context = streaming.StreamingContext(
            devices, max_failed_clients=max_failed_clients, protocols=protocols
        )
    elif name == "ray":
        context = _ray_context(ray_options or RayOptions(), max_failed_clients)
    else:
        context = worker.worker_context()
    tff.framework.set_default_context(context)
    # TFF's own default context complains when it is still there as Python ends.
    gc.collect()
    return context


def _ray_context(options: RayOptions, max_failed_clients: int) -> tff.framework.SyncContext:
    try:
        from tff_nlp.execution import ray_context  # Ray is an extra.
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise errors.UserError(
            "--context=ray: Ray is not installed; EXTRAS=ray scripts/setup adds it"
        ) from error
    return ray_context.RayContext(
        options.address, actors=options.actors, max_failed_clients=max_failed_clients
    )


def devices_of(context: tff.framework.SyncContext) -> tuple[str, ...]:
    """Returns one name per lane of a context, none where it has no lanes.

    The sums of a round depend on them.
    """
    return getattr(context, "devices", ())


def count_bytes(
    context: tff.framework.SyncContext,
    computation: tff.framework.ConcreteComputation,
    *,
    cohort: int,
    overhead: ledger.Overhead | None = None,
) -> ledger.ByteLedger:
    """Counts what a round sends per client, without compiling it twice where that is possible.

    Args:
      context: The context that is going to run the round.
      computation: The round, `process.next` for example.
      cohort: Clients per round.
      overhead: Of the protocol that computes secure sums; None for none.

    Raises:
      NoFormError: If the computation is not a single round.
    """
    form = context.form(computation) if isinstance(context, form_context.FormContext) else None
    return ledger.of_form(
        form or forms.compile_round(computation), cohort=cohort, overhead=overhead
    )
