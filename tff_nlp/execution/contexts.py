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
    """Options of the context "ray".

    Attributes:
      address: "host:port" of a cluster that this machine belongs to, or "auto" for the cluster that
        runs on this machine. Empty starts a cluster on this machine.
      actors: Number of actors. The default is one per GPU, or one per machine without GPUs.
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
    """Creates a context, makes it TFF's default and returns it.

    Args:
      name: "streaming" (this process), "ray" (Ray actors) or "tff" (TFF's own worker).
      devices: One TensorFlow device name per lane, for "streaming" only. Empty for the default.
      max_failed_clients: How many clients of a round may fail before the round itself fails, for
        "streaming" and "ray" only.
      ray_options: Options of "ray".
      protocols: Protocol that computes secure sums, for "streaming" only. None adds the values in
        the clear.

    Raises:
      UserError: If the name is unknown, an option is not for this context, or Ray is not
        installed or cannot be reached.
    """
    if name not in CONTEXTS:
        raise errors.UserError(
            f"{errors.setting('context', name)}: choose one of {', '.join(CONTEXTS)}"
        )
    for option, value, owners in (
        ("`devices`", devices, ("streaming",)),
        ("`max_failed_clients`", max_failed_clients, ("streaming", "ray")),
        ("`ray_address` and `ray_actors`", ray_options, ("ray",)),
        ("`secure_aggregation`=masked", protocols, ("streaming",)),
    ):
        if value and name not in owners:
            raise errors.UserError(f"{errors.setting('context', name)}: has no {option}")
    context: tff.framework.SyncContext
    if name == "streaming":
        context = streaming.StreamingContext(
            devices, max_failed_clients=max_failed_clients, protocols=protocols
        )
    elif name == "ray":
        context = _ray_context(ray_options or RayOptions(), max_failed_clients)
    else:
        context = worker.worker_context()
    worker.end_workers_that_ignore_sigint()
    tff.framework.set_default_context(context)
    # TFF's own default context prints a complaint if it still exists when Python exits.
    gc.collect()
    return context


def _ray_context(options: RayOptions, max_failed_clients: int) -> tff.framework.SyncContext:
    try:
        from tff_nlp.execution import ray_context  # Ray is an extra.
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise errors.UserError(
            "`context`=ray: Ray is not installed; EXTRAS=ray scripts/setup adds it"
        ) from error
    return ray_context.RayContext(
        options.address, actors=options.actors, max_failed_clients=max_failed_clients
    )


def devices_of(context: tff.framework.SyncContext) -> tuple[str, ...]:
    """Returns one device name per lane of a context, or no name if the context has no lanes.

    The sums of a round depend on the number of lanes.
    """
    return getattr(context, "devices", ())


def count_bytes(
    context: tff.framework.SyncContext,
    computation: tff.framework.ConcreteComputation,
    *,
    cohort: int,
    overhead: ledger.Overhead | None = None,
) -> ledger.ByteLedger:
    """Counts the bytes that a round sends per client.

    A context that has compiled the round already is not made to compile it again.

    Args:
      context: The context that will run the round.
      computation: The round, for example `process.next`.
      cohort: Number of clients per round.
      overhead: Bytes that the secure-sum protocol adds, as for `ledger.of_form`. None for no
        protocol.

    Raises:
      NoFormError: If the computation is not a single round.
    """
    form = context.form(computation) if isinstance(context, form_context.FormContext) else None
    return ledger.of_form(
        form or forms.compile_round(computation), cohort=cohort, overhead=overhead
    )
