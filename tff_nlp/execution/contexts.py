"""The execution contexts by name."""

import gc
from collections.abc import Sequence

import tensorflow_federated as tff

from tff_nlp import errors
from tff_nlp.execution import forms, ledger, streaming, worker

CONTEXTS = ("streaming", "tff")


def install(
    name: str, devices: Sequence[str] = (), *, max_failed_clients: int = 0
) -> tff.framework.SyncContext:
    """Makes a context TFF's default one and returns it.

    Args:
      name: "streaming" (this process) or "tff" (TFF's own worker).
      devices: Of "streaming": one TensorFlow device name per lane; empty for the default.
      max_failed_clients: Of "streaming": how many clients of a round may fail before it does.

    Raises:
      UserError: If the name is unknown or an option is not for this context.
    """
    if name == "streaming":
        context = streaming.StreamingContext(devices, max_failed_clients=max_failed_clients)
    elif name == "tff":
        if devices or max_failed_clients:
            raise errors.UserError("--context=tff: has no --devices and no --max_failed_clients")
        context = worker.worker_context()
    else:
        raise errors.UserError(f"--context={name}: choose one of {', '.join(CONTEXTS)}")
    tff.framework.set_default_context(context)
    # TFF's own default context complains when it is still there as Python ends.
    gc.collect()
    return context


def count_bytes(
    context: tff.framework.SyncContext,
    computation: tff.framework.ConcreteComputation,
    *,
    cohort: int,
) -> ledger.ByteLedger:
    """Counts what a round sends per client, without compiling it twice where that is possible.

    Args:
      context: The context that is going to run the round.
      computation: The round, `process.next` for example.
      cohort: Clients per round.

    Raises:
      NoFormError: If the computation is not a single round.
    """
    form = context.form(computation) if isinstance(context, streaming.StreamingContext) else None
    return ledger.of_form(form or forms.compile_round(computation), cohort=cohort)
