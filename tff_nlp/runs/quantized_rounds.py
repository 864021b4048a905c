"""The aggregator of `upload_bits`."""

from typing import Any

from tff_nlp.runs import configs
from tff_nlp.runs.configs import federated


def aggregator(run: configs.FederatedRun) -> Any:
    """Returns the aggregator of rounded updates; None if updates are not rounded."""
    if run.federated.upload_bits == federated.FLOAT_BITS:
        return None
    from tff_nlp.aggregation import quantized_mean

    return quantized_mean.QuantizedMeanFactory(run.federated.upload_bits, run.rounds.seed)
