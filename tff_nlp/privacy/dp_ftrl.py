"""Privacy of DP-FTRL: how much one client can change a tree of sums (Kairouz et al. 2021, app. D).

Round t is leaf t of a binary tree; each node is the sum of its leaves and is published with noise.
A client's updates all have norm 1 (the clipping norm), so a client that took part m times below a
node changes it by at most m, and the whole tree by the root of the sum of squares over all nodes.
That sum, at its largest over the schedules that the cohort sampler allows, is the squared
sensitivity; with it the tree is one Gaussian mechanism. The greedy schedule of the paper is not
always the largest, so all schedules are searched.

Neighbours differ by one client whose updates are all replaced by zeros: who takes part when is no
secret here, and no sampling amplifies.
"""

import dataclasses
import functools
import math

import dp_accounting as dpa
import numpy as np

from tff_nlp.errors import UserError

# The search takes about participations * separation^3 steps; so many are some ten seconds.
_MOST_WORK = 2_000_000_000


@dataclasses.dataclass(frozen=True)
class Participation:
    """How often one client may take part, which the cohort sampler must enforce.

    Attributes:
      max_participations: In at most so many rounds of the run.
      min_separation: At least so many rounds between two of them, in which the client is absent: 0
        allows consecutive rounds.
    """

    max_participations: int
    min_separation: int

    def __post_init__(self) -> None:
        if self.max_participations < 1:
            raise UserError(f"--max_participations={self.max_participations}: must be at least 1")
        if self.min_separation < 0:
            raise UserError(f"--min_separation={self.min_separation}: must not be negative")


def _combine(left: np.ndarray, right: np.ndarray, leaves: tuple[int, int], most: int) -> np.ndarray:
    """Returns the best sums over two neighbouring stretches of rounds (tables as in `_block`).

    Args:
      left: float64[participations, starts, gap], the earlier stretch; starts is gap, or 1 where
        only schedules that may begin at once are wanted.
      right: float64[participations, gap, gap], the later one.
      leaves: The number of rounds of each.
      most: The largest number of participations of the result.
    """
    starts, gap = left.shape[1:]
    free = np.arange(gap)
    table = np.full((most + 1, starts, gap), -np.inf)
    # Nobody on one side: only what the other's free rounds leave over binds there.
    on_right = right[: most + 1][:, np.maximum(free[:starts] - leaves[0], 0)]
    on_left = left[: most + 1][:, :, np.maximum(free - leaves[1], 0)]
    table[: len(on_right)] = on_right
    table[: len(on_left)] = np.maximum(table[: len(on_left)], on_left)
    for count in range(1, min(len(left) - 1, most - 1) + 1):
        others = right[1 : most - count + 1]
        if not len(others):
            continue
        part = table[count + 1 : count + 1 + len(others)]
        # The last of the left and the first of the right are `gap` rounds apart at least.
        for after in range(gap):
            sums = left[count, :, after][:, None] + others[:, gap - 1 - after, None, :]
            np.maximum(part, sums, out=part)
    return table


@functools.lru_cache(maxsize=64)
def _block(height: int, gap: int, most: int) -> np.ndarray:
    """Returns the best sums of squares over one complete subtree of 2^height rounds.

    Args:
      height: Of the subtree; 0 is a single round.
      gap: Two participations are at least so many rounds apart: min_separation + 1.
      most: The largest number of participations.

    Returns:
      float64[participations, gap, gap]: entry [m, s, e] is the largest sum over the subtree's nodes
      for m participations, none in the first s and last e rounds; -inf where there is no schedule.
    """
    size = 2**height
    fits = min(most, -(-size // gap))
    if fits <= 1:
        free = np.arange(gap)
        table = np.full((fits + 1, gap, gap), -np.inf)
        table[0] = 0.0
        if fits:
            table[1][free[:, None] + free[None, :] < size] = height + 1
        return table
    half = _block(height - 1, gap, most)
    table = _combine(half, half, (size // 2, size // 2), fits)
    return table + np.arange(fits + 1)[:, None, None] ** 2.0


def squared_sensitivity(
    participation: Participation, rounds: int, restart_every: int | None = None
) -> int:
    """Returns the squared L2 sensitivity of a run, in units of the squared clipping norm.

    Args:
      participation: What the cohort sampler guarantees.
      rounds: The number of rounds.
      restart_every: A fresh tree begins after so many rounds; None for a single tree.

    Raises:
      UserError: If the numbers are out of range, or the search is too large to do.
    """
    if rounds < 1:
        raise UserError(f"--rounds={rounds}: must be at least 1")
    if restart_every is not None and restart_every < 1:
        raise UserError(f"--restart_every={restart_every}: must be at least 1")
    tree = min(rounds, restart_every or rounds)
    # Beyond the run's end nothing can be told apart.
    gap = min(participation.min_separation + 1, rounds)
    most = min(participation.max_participations, -(-rounds // gap))
    if most * gap**3 > _MOST_WORK:
        raise UserError(
            f"--min_separation={participation.min_separation}: too large to search all schedules of"
            f" {most} participations exactly; lower it, which can only raise the epsilon stated"
        )
    total = np.zeros((1, 1, gap))
    done = 0
    for leaves in (tree,) * (rounds // tree) + ((rounds % tree,) if rounds % tree else ()):
        for height in reversed(range(leaves.bit_length())):
            if leaves >> height & 1:
                block = _block(height, gap, most)
                total = _combine(
                    total, block, (done, 2**height), min(most, len(total) + len(block) - 2)
                )
                done += 2**height
    return int(total[:, 0, 0].max())


def event_of(noise_multiplier: float, squared: float) -> dpa.DpEvent:
    """Returns a whole DP-FTRL run as the one Gaussian mechanism that it is.

    Args:
      noise_multiplier: Standard deviation of each node's noise over the clipping norm.
      squared: The squared sensitivity.
    """
    return dpa.GaussianDpEvent(noise_multiplier / math.sqrt(squared))


def zcdp(noise_multiplier: float, squared: float) -> float:
    """Returns rho of zero-concentrated DP (Bun and Steinke 2016, proposition 1.6).

    Args:
      noise_multiplier: Standard deviation of each node's noise over the clipping norm, above 0.
      squared: The squared sensitivity.
    """
    return squared / (2 * noise_multiplier**2)


def event_of_zcdp(rho: float) -> dpa.DpEvent:
    """Returns the Gaussian mechanism that is rho-zCDP."""
    return dpa.GaussianDpEvent((2 * rho) ** -0.5)
