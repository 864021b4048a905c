"""Summary statistics of one score per client, such as its accuracy."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class ClientScores:
    """Summary of the scores of clients.

    Attributes:
      clients: Number of clients that have examples in the set.
      mean: Unweighted mean of the clients' scores.
      worst_decile: Mean score of the worst tenth of the clients, but of at least one client.
      standard_deviation: Standard deviation of the clients' scores.
    """

    clients: int
    mean: float
    worst_decile: float
    standard_deviation: float

    def line(self) -> str:
        """Returns the summary as one line of text."""
        return (
            f"mean {self.mean:.4f}, worst tenth {self.worst_decile:.4f}, standard deviation "
            f"{self.standard_deviation:.4f} over {self.clients} clients"
        )


def over_clients(scores: np.ndarray, *, higher_is_better: bool = True) -> ClientScores:
    """Summarizes the scores of clients.

    Args:
      scores: float64[clients].
      higher_is_better: Whether a higher score is better.
    """
    best_last = np.sort(scores) if higher_is_better else -np.sort(-scores)
    worst = max(1, len(scores) // 10)
    return ClientScores(
        clients=len(scores),
        mean=float(scores.mean()),
        worst_decile=float(best_last[:worst].mean()),
        standard_deviation=float(scores.std()),
    )


def sums_by_client(values: np.ndarray, clients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums values of examples by client.

    Args:
      values: float[examples] or bool[examples].
      clients: Number of each example's client, int64[examples].

    Returns:
      Sums, float64[n], and numbers of examples, int64[n], of the n clients that have examples.
    """
    _, positions, counts = np.unique(clients, return_inverse=True, return_counts=True)
    return np.bincount(positions, weights=values), counts
