"""The mechanisms by name, and the TFF aggregator of each mechanism."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow_federated as tff

from tff_nlp import errors
from tff_nlp.aggregation.compression import coding as codings
from tff_nlp.privacy import (
    adaptive_clipping,
    clipped_mean,
    distributed_mean,
    mechanism_checks,
    noise,
)
from tff_nlp.privacy.guarantee import (
    ADAPTIVE_CLIPPING,
    CLIENT_LEVEL,
    DISTRIBUTED,
    GAUSSIAN,
    TREE_AGGREGATION,
)


@dataclasses.dataclass(frozen=True)
class Mechanism:
    """A mechanism that makes the mean of the clients' updates differentially private.

    Attributes:
      name: Name of the mechanism, one of `guarantee.CLIENT_LEVEL`.
      noise_multiplier: Standard deviation of the noise on the sum over the clipping norm. With
        adaptive clipping it is the total of both parts of the noise (`adaptive_clipping`). For a
        tree it is the noise of each node.
      clients_per_round: Expected cohort size, by which the sum is divided.
      clipping_norm: L2 norm to which updates are clipped. If it adapts, the norm of the first
        round.
      target_quantile: Target fraction of unclipped clients; for adaptive clipping only.
      clipping_learning_rate: Learning rate of the clipping norm; for adaptive clipping only.
      count_stddev: Standard deviation of the noise on the count of unclipped clients, for adaptive
        clipping only. None for a twentieth of the cohort.
      efficient_tree: Whether a tree uses Honaker's estimates.
      restart_every: Number of rounds after which a new tree begins. None for a single tree.
      bits: Width of the integers that clients send; for distributed noise only.
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

    def __post_init__(self) -> None:
        if self.name not in CLIENT_LEVEL:
            raise errors.UserError(
                f"{errors.setting('dp', self.name)}: choose one of {', '.join(CLIENT_LEVEL)}"
            )
        mechanism_checks.check_noise_multiplier(self.noise_multiplier)
        mechanism_checks.check_cohort(self.clients_per_round)
        mechanism_checks.check_clipping_norm(self.clipping_norm)
        if self.restart_every is not None and self.restart_every < 1:
            raise errors.UserError(f"`restart_every`={self.restart_every}: must be at least 1")


def build_aggregator(
    mechanism: Mechanism, coding: codings.Coding | None = None
) -> tff.aggregators.UnweightedAggregationFactory:
    """Returns the aggregator of a mechanism. Set the key of each round's noise with `with_key`.

    Args:
      mechanism: The mechanism.
      coding: How clients encode their updates; None to send them as they are. Clients that add the
        noise cannot encode them.

    Raises:
      UserError: If a value is out of range.
    """
    if mechanism.name == DISTRIBUTED:
        if coding is not None:
            raise errors.UserError(
                f"{coding.codec.setting}: `dp`={DISTRIBUTED} sends integers already"
            )
        return distributed_mean.DistributedMeanFactory(
            noise_multiplier=mechanism.noise_multiplier,
            clipping_norm=mechanism.clipping_norm,
            clients=mechanism.clients_per_round,
            bits=mechanism.bits,
        )
    if mechanism.name == TREE_AGGREGATION:
        return _clipped_mean(
            mechanism,
            clipped_mean.Clipping(mechanism.clipping_norm),
            noise.TreeNoise(
                mechanism.noise_multiplier * mechanism.clipping_norm,
                efficient=mechanism.efficient_tree,
                restart_every=mechanism.restart_every,
            ),
            mechanism.noise_multiplier,
            coding,
        )
    independent = noise.IndependentNoise()
    if mechanism.name == GAUSSIAN:
        return _clipped_mean(
            mechanism,
            clipped_mean.Clipping(mechanism.clipping_norm),
            independent,
            mechanism.noise_multiplier,
            coding,
        )
    if mechanism.name == ADAPTIVE_CLIPPING:
        split = _split(mechanism)
        clipping = clipped_mean.Clipping(
            mechanism.clipping_norm,
            target_quantile=mechanism.target_quantile,
            learning_rate=mechanism.clipping_learning_rate,
            count_stddev=split.count_stddev,
        )
        return _clipped_mean(mechanism, clipping, independent, split.updates, coding)
    raise errors.UserError(f"{errors.setting('dp', mechanism.name)}: has no aggregator")


def independent_noise(mechanism: Mechanism) -> float | None:
    """Returns the noise multiplier on the sum of updates, if the noise of rounds is independent.

    Returns None if the noise is correlated between rounds (a tree) or is not Gaussian (noise from
    clients).
    """
    if mechanism.name == GAUSSIAN:
        return mechanism.noise_multiplier
    return _split(mechanism).updates if mechanism.name == ADAPTIVE_CLIPPING else None


def with_key(aggregator: Any, key: np.ndarray) -> Any:
    """Returns an aggregator's state with the key of the next round's noise.

    Args:
      aggregator: State of the aggregator. A state without a key is returned unchanged.
      key: Key from `NoiseSecret.key`, uint32[8]. Use each key for one round only. Two rounds with
        the same key have the same noise, so their difference reveals what the noise should hide.
    """
    if not isinstance(aggregator, clipped_mean.MeanState):
        return aggregator
    return aggregator._replace(key=key)


def _split(mechanism: Mechanism) -> adaptive_clipping.NoiseSplit:
    return adaptive_clipping.split_noise(
        mechanism.noise_multiplier, mechanism.clients_per_round, mechanism.count_stddev
    )


def _clipped_mean(
    mechanism: Mechanism,
    clipping: clipped_mean.Clipping,
    sum_noise: noise.SumNoise,
    noise_multiplier: float,
    coding: codings.Coding | None,
) -> clipped_mean.ClippedMeanFactory:
    return clipped_mean.ClippedMeanFactory(
        clipping,
        sum_noise,
        noise_multiplier=noise_multiplier,
        denominator=float(mechanism.clients_per_round),
        coding=coding,
    )
