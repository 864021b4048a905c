"""The mechanisms by name, and TFF's aggregator of each."""

import dataclasses

import tensorflow_federated as tff

from tff_nlp import errors, seeds
from tff_nlp.privacy import adaptive_clipping, clipped_mean, noise
from tff_nlp.privacy.guarantee import (
    ADAPTIVE_CLIPPING,
    DISTRIBUTED,
    GAUSSIAN,
    TREE_AGGREGATION,
)


@dataclasses.dataclass(frozen=True)
class Mechanism:
    """A mechanism that makes the mean of the clients' updates differentially private.

    Attributes:
      name: One of `guarantee.CLIENT_LEVEL`.
      noise_multiplier: Standard deviation of the noise on the sum over the clipping norm; with
        adaptive clipping, of value and count together; of each node of a tree.
      clients_per_round: The expected cohort, by which the sum is divided.
      clipping_norm: L2 norm to which updates are clipped; the first one where it adapts.
        Distributed noise begins with TFF's own, 0.1.
      target_quantile: Of adaptive clipping.
      clipping_learning_rate: Of adaptive clipping.
      count_stddev: Of adaptive clipping's count; None for a twentieth of the cohort.
      efficient_tree: Whether a tree uses Honaker's estimates.
      restart_every: A fresh tree after so many rounds; None for one.
      bits: Of distributed noise, width of the integers that clients send.
    """

    name: str
    noise_multiplier: float
    clients_per_round: int
    clipping_norm: float = 1.0
    target_quantile: float = 0.5
    clipping_learning_rate: float = 0.2
    count_stddev: float | None = None
    efficient_tree: bool = True
    restart_every: int | None = None
    bits: int = 20


def build_aggregator(
    mechanism: Mechanism, seed: int
) -> tff.aggregators.UnweightedAggregationFactory:
    """Returns the aggregator of a mechanism.

    Args:
      mechanism: What it is to be.
      seed: The run's; the noise derives from it, but for distributed noise, which clients draw
        from TensorFlow's own generator.

    Raises:
      UserError: If a value is out of range.
    """
    if mechanism.name == DISTRIBUTED:
        return _distributed(mechanism)
    if mechanism.name == TREE_AGGREGATION:
        return _clipped_mean(
            mechanism,
            clipped_mean.Clipping(mechanism.clipping_norm),
            noise.TreeNoise(
                seeds.derive(seed, "tree_noise"),
                mechanism.noise_multiplier * mechanism.clipping_norm,
                efficient=mechanism.efficient_tree,
                restart_every=mechanism.restart_every,
            ),
            mechanism.noise_multiplier,
        )
    independent = noise.IndependentNoise(seeds.pair(seed, "noise"))
    if mechanism.name == GAUSSIAN:
        return _clipped_mean(
            mechanism,
            clipped_mean.Clipping(mechanism.clipping_norm),
            independent,
            mechanism.noise_multiplier,
        )
    if mechanism.name == ADAPTIVE_CLIPPING:
        split = adaptive_clipping.split_noise(
            mechanism.noise_multiplier, mechanism.clients_per_round, mechanism.count_stddev
        )
        clipping = clipped_mean.Clipping(
            mechanism.clipping_norm,
            target_quantile=mechanism.target_quantile,
            learning_rate=mechanism.clipping_learning_rate,
            count_stddev=split.count_stddev,
            seed=seeds.pair(seed, "count_noise"),
        )
        return _clipped_mean(mechanism, clipping, independent, split.updates)
    raise errors.UserError(f"--dp={mechanism.name}: no mechanism for the updates of clients")


def _clipped_mean(
    mechanism: Mechanism,
    clipping: clipped_mean.Clipping,
    sum_noise: noise.SumNoise,
    noise_multiplier: float,
) -> clipped_mean.ClippedMeanFactory:
    return clipped_mean.ClippedMeanFactory(
        clipping,
        sum_noise,
        noise_multiplier=noise_multiplier,
        denominator=float(mechanism.clients_per_round),
    )


def _distributed(mechanism: Mechanism) -> tff.aggregators.UnweightedAggregationFactory:
    """Returns TFF's distributed Skellam mechanism under a secure modular sum.

    Agarwal, Kairouz and Liu 2021, "The Skellam Mechanism for Differentially Private Federated
    Learning". Each client adds a share of the noise, so the noise is what is stated only when all
    of the expected clients send; the clipping norm adapts to the median, its count's noise is added
    by the server.
    """
    # Says what is wrong in terms of flags, where TFF would raise a stack trace.
    adaptive_clipping.split_noise(mechanism.noise_multiplier, mechanism.clients_per_round)
    if not 1 <= mechanism.bits <= 22 or 2**mechanism.bits < mechanism.clients_per_round:
        raise errors.UserError(
            f"--distributed_bits={mechanism.bits}: must be from 1 to 22, and hold the sum of "
            f"{mechanism.clients_per_round} clients"
        )
    return tff.learning.ddp_secure_aggregator(
        mechanism.noise_multiplier, mechanism.clients_per_round, mechanism.bits, zeroing=False
    )
