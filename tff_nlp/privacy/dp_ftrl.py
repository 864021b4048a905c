"""Privacy of DP-FTRL: how much one client can change a tree of sums (Kairouz et al. 2021, app. D).

Round t is leaf t of a binary tree. Each node is the sum of its leaves and is published with noise.
All updates of a client have norm 1 (the clipping norm). So a client that takes part m times below a
node changes it by at most m, and changes the whole tree by at most the root of the sum of squares
over all nodes. The largest such sum, over all schedules that the cohort sampler allows, is the
squared sensitivity. With it, the tree is one Gaussian mechanism. The greedy schedule of the paper
does not always give the largest sum, so all schedules are searched.

In a neighbouring data set, all updates of one client are replaced by zeros. The schedule is not
secret here, so there is no amplification by sampling.
"""

import dataclasses
import functools
import math

import dp_accounting as dpa
import numpy as np

from tff_nlp.errors import UserError

# The search takes about participations * separation^3 steps. This many take about ten seconds.
_MOST_WORK = 2_000_000_000


@dataclasses.dataclass(frozen=True)
class Participation:
    """A bound on the participation of each client. The cohort sampler must enforce it.

    Attributes:
      max_participations: Maximum number of rounds in which a client takes part.
      min_separation: Minimum number of rounds between two participations, in which the client does
        not take part. 0 allows consecutive rounds.
    """

    max_participations: int
    min_separation: int

    def __post_init__(self) -> None:
        if self.max_participations < 1:
            raise UserError(f"`max_participations`={self.max_participations}: must be at least 1")
        if self.min_separation < 0:
            raise UserError(f"`min_separation`={self.min_separation}: must not be negative")


def _combine(left: np.ndarray, right: np.ndarray, leaves: tuple[int, int], most: int) -> np.ndarray:
    """Returns the largest sums over two neighbouring stretches of rounds (tables as in `_block`).

    Args:
      left: Table of the earlier stretch, float64[participations, starts, gap]. `starts` is `gap`,
        or 1 if only schedules are needed that may begin in the first round.
      right: Table of the later stretch, float64[participations, gap, gap].
      leaves: Number of rounds of each stretch.
      most: Maximum number of participations in the result.
    """
    starts, gap = left.shape[1:]
    free = np.arange(gap)
    table = np.full((most + 1, starts, gap), -np.inf)
    # If one side has no participation, the free rounds of the other side reach into it.
    on_right = right[: most + 1][:, np.maximum(free[:starts] - leaves[0], 0)]
    on_left = left[: most + 1][:, :, np.maximum(free - leaves[1], 0)]
    table[: len(on_right)] = on_right
    table[: len(on_left)] = np.maximum(table[: len(on_left)], on_left)
    for count in range(1, min(len(left) - 1, most - 1) + 1):
        others = right[1 : most - count + 1]
        if not len(others):
            continue
        part = table[count + 1 : count + 1 + len(others)]
        # The last participation on the left and the first one on the right are at least `gap`
        # rounds apart.
        for after in range(gap):
            sums = left[count, :, after][:, None] + others[:, gap - 1 - after, None, :]
            np.maximum(part, sums, out=part)
    return table


@functools.lru_cache(maxsize=64)
def _block(height: int, gap: int, most: int) -> np.ndarray:
    """Returns the largest sums of squares over a complete subtree of 2^height rounds.

    Args:
      height: Height of the subtree. 0 is a single round.
      gap: Minimum distance of two participations in rounds: min_separation + 1.
      most: Maximum number of participations.

    Returns:
      float64[participations, gap, gap]. Entry [m, s, e] is the largest sum over the subtree's nodes
      for m participations, with none in the first s and the last e rounds. It is -inf if there is
      no such schedule.
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
      participation: Bound on the participation of each client.
      rounds: Number of rounds.
      restart_every: Number of rounds after which a new tree begins. None for a single tree.

    Raises:
      UserError: If a number is out of range, or the search would take too long.
    """
    if rounds < 1:
        raise UserError(f"`rounds`={rounds}: must be at least 1")
    if restart_every is not None and restart_every < 1:
        raise UserError(f"`restart_every`={restart_every}: must be at least 1")
    tree = min(rounds, restart_every or rounds)
    # A gap longer than the run has the same effect as a gap of the run's length.
    gap = min(participation.min_separation + 1, rounds)
    most = min(participation.max_participations, -(-rounds // gap))
    if most * gap**3 > _MOST_WORK:
        raise UserError(
            f"`min_separation`={participation.min_separation}: too large to search all schedules of"
            f" {most} participations exactly; lower it (this never lowers the stated epsilon)"
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
    """Returns a whole DP-FTRL run as one Gaussian mechanism.

    Args:
      noise_multiplier: Standard deviation of each node's noise over the clipping norm.
      squared: Squared sensitivity in squared clipping norms.
    """
    return dpa.GaussianDpEvent(noise_multiplier / math.sqrt(squared))
