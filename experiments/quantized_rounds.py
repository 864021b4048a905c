"""--upload_bits in a run: what it goes with, and its aggregator."""

from typing import TYPE_CHECKING, Any

from experiments import checks, settings
from tff_nlp.privacy import names

if TYPE_CHECKING:  # Flags are checked before TensorFlow is imported.
    from experiments.federated_run import FederatedRun


def check(run: "FederatedRun") -> None:
    """Refuses, before anything runs, what rounded updates would break.

    Raises:
      UserError: If the mechanism bounds the norm of what a client sends, or sends integers itself.
    """
    bits, dp = run.federated.upload_bits, run.privacy.dp
    if bits == settings.FLOAT_BITS:
        return
    if dp == names.DISTRIBUTED:
        why = "--dp=distributed sends integers already; --distributed_bits says how wide"
        checks.refuse("upload_bits", bits, why)
    if dp in names.CLIENT_LEVEL:
        why = (
            f"rounding makes an update longer than the norm that --dp={dp} clips it to; take "
            "--dp=distributed --distributed_bits, or 32"
        )
        checks.refuse("upload_bits", bits, why)
    if run.federated.secure_aggregation != "none":
        why = (
            f"--secure_aggregation={run.federated.secure_aggregation} adds up integers with a "
            "range that all clients share; take 32"
        )
        checks.refuse("upload_bits", bits, why)


def aggregator(run: "FederatedRun") -> Any:
    """Returns TFF's aggregator of rounded updates; None where they are sent as they are."""
    if run.federated.upload_bits == settings.FLOAT_BITS:
        return None
    from tff_nlp.aggregation import quantized_mean

    return quantized_mean.QuantizedMeanFactory(run.federated.upload_bits, run.rounds.seed)
