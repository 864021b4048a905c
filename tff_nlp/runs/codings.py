"""The way in which the clients of a run send their updates in fewer bytes."""

from typing import Any

from tff_nlp.aggregation.compression import codec, coded_mean, coding, names, rounding
from tff_nlp.aggregation.compression.power_sgd import PowerSgd
from tff_nlp.aggregation.compression.random_k import RandomK
from tff_nlp.aggregation.compression.signs import Signs
from tff_nlp.aggregation.compression.top_k import TopK
from tff_nlp.runs import configs


def of_run(run: configs.FederatedRun) -> coding.Coding | None:
    """Returns how clients encode their updates; None if they send all numbers as they are."""
    chosen = run.compression
    if not chosen.setting:
        return None
    return coding.Coding(_codec(chosen), run.rounds.seed, chosen.error_feedback)


def aggregator(run: configs.FederatedRun) -> Any:
    """Returns the aggregator of encoded updates; None if updates are not encoded."""
    found = of_run(run)
    return None if found is None else coded_mean.CodedMeanFactory(found)


def _codec(chosen: configs.CompressionConfig) -> codec.Codec:
    floats = rounding.Rounding(chosen.upload_bits) if chosen.rounds else codec.Floats()
    name = chosen.compression
    if name == names.SIGNS:
        return Signs()
    if name == names.POWER_SGD:
        return PowerSgd(chosen.compression_rank, floats)
    if name == names.NONE:
        return floats
    fraction = chosen.compression_fraction or names.FRACTIONS[name]
    return TopK(fraction, floats) if name == names.TOP_K else RandomK(fraction, floats)
