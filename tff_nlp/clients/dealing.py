"""Draws random shares, divides rows among clients by shares, and checks their numbers."""

import heapq

import numpy as np

from tff_nlp.errors import UserError


def dirichlet_shares(rng: np.random.Generator, num_clients: int, alpha: float) -> np.ndarray:
    """Draws shares from a symmetric Dirichlet distribution, float64[num_clients].

    It draws gamma variables in the log domain. With a tiny alpha, ordinary gamma draws would all
    underflow to zero and give 0/0. G(alpha) has the distribution of G(alpha + 1) U^(1 / alpha)
    (Marsaglia and Tsang 2000, section 6).

    Args:
      rng: Generator of the random numbers.
      num_clients: Number of shares.
      alpha: Concentration, above 0.
    """
    alpha = min(alpha, 1e12)  # With more than this, the shares are equal to nine digits anyway.
    logs = np.log(rng.standard_gamma(alpha + 1, num_clients))
    with np.errstate(over="ignore", divide="ignore"):
        logs += np.log1p(-rng.random(num_clients)) / alpha
    if not np.isfinite(logs.max()):  # With alpha below 1e-307, one client gets everything.
        shares = np.zeros(num_clients)
        shares[rng.integers(num_clients)] = 1.0
        return shares
    shares = np.exp(logs - logs.max())
    return shares / shares.sum()


def deal(shares: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Divides rows among clients by shares and returns the client of each row, int64[count].

    The clients ascend. Sizes are rounded with the method of the largest remainder, with ties in
    random order. So all rows are assigned, and no client differs by more than one row from its
    exact share.

    Args:
      shares: Share of each client, float64[clients], with sum 1.
      count: Number of rows.
      rng: Generator of the random order of ties.
    """
    exact = shares * count
    sizes = np.floor(exact).astype(np.int64)
    lacking = count - int(sizes.sum())
    tie = rng.permutation(len(shares))
    order = tie[np.argsort(sizes[tie] - exact[tie], kind="stable")]
    sizes[order[:lacking]] += 1
    return np.repeat(np.arange(len(shares)), sizes)


def top_up(
    client: np.ndarray, num_clients: int, min_examples: int, rng: np.random.Generator
) -> int:
    """Moves random rows, in place, from the largest clients to those below the minimum.

    Args:
      client: Client of each row, int64[examples]. There must be enough rows for all clients.
      num_clients: Number of clients.
      min_examples: Minimum number of rows per client.
      rng: Generator that chooses the rows to move.

    Returns:
      The number of rows that moved.
    """
    sizes = np.bincount(client, minlength=num_clients)
    needy = np.flatnonzero(sizes < min_examples)
    takers = np.repeat(needy, min_examples - sizes[needy])
    if not len(takers):
        return 0
    # Number of rows that each donor gives. Each row comes from the client that is largest then.
    heap = [(-int(size), donor) for donor, size in enumerate(sizes) if size > min_examples]
    heapq.heapify(heap)
    given = np.zeros(num_clients, dtype=np.int64)
    for _ in range(len(takers)):
        size, donor = heap[0]
        given[donor] += 1
        heapq.heapreplace(heap, (size + 1, donor))
    # The first `given` rows of each donor, in a random order of all rows.
    order = rng.permutation(len(client))
    order = order[np.argsort(client[order], kind="stable")]
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    rank = np.arange(len(client)) - np.repeat(starts, sizes)
    moving = order[rank < np.repeat(given, sizes)]
    client[moving] = rng.permutation(takers)
    return len(takers)


def check_minimum(min_examples: int) -> None:
    """Raises UserError if `min_examples_per_client` is below 1."""
    if min_examples < 1:
        raise UserError(f"`min_examples_per_client`={min_examples}: must be 1 or more")


def check_clients(num_clients: int, available: int, what: str) -> None:
    """Raises UserError if `num_clients` is below 1, or more than are available."""
    if num_clients < 1:
        raise UserError(f"`num_clients`={num_clients}: must be 1 or more")
    if num_clients > available:
        raise UserError(f"`num_clients`={num_clients}: there are only {available} {what}")
