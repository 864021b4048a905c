"""Random shares, rows dealt out in these shares, and whether there are enough of them."""

import heapq

import numpy as np

from tff_nlp.errors import UserError


def dirichlet_shares(rng: np.random.Generator, num_clients: int, alpha: float) -> np.ndarray:
    """Returns float64[num_clients] drawn from a symmetric Dirichlet distribution.

    Gamma draws in the log domain: with a tiny alpha, ordinary ones all underflow to zero and
    leave 0/0. For alpha < 1, G(alpha) has the law of G(alpha + 1) U^(1 / alpha) (Marsaglia and
    Tsang 2000, section 6).
    """
    alpha = min(alpha, 1e12)  # Beyond this the shares are equal to nine digits anyway.
    logs = np.log(rng.standard_gamma(alpha + 1, num_clients))
    with np.errstate(over="ignore", divide="ignore"):
        logs += np.log1p(-rng.random(num_clients)) / alpha
    if not np.isfinite(logs.max()):  # alpha below 1e-307: one client takes all.
        shares = np.zeros(num_clients)
        shares[rng.integers(num_clients)] = 1.0
        return shares
    shares = np.exp(logs - logs.max())
    return shares / shares.sum()


def deal(shares: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Returns int64[count]: which client takes each of `count` rows, in ascending order.

    Shares are rounded by the method of the largest remainder, ties in random order, so that all
    rows are dealt and no client is off by more than one.
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
      client: int64[examples], who holds each row; the clients can be filled.
      num_clients: The size of the population.
      min_examples: The fewest rows that a client may hold.
      rng: Draws the rows that move.

    Returns:
      The number of rows that changed hands.
    """
    sizes = np.bincount(client, minlength=num_clients)
    needy = np.flatnonzero(sizes < min_examples)
    takers = np.repeat(needy, min_examples - sizes[needy])
    if not len(takers):
        return 0
    # How many rows each donor gives, always from whoever is largest at that moment.
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
    """Raises UserError if --min_examples_per_client is below 1."""
    if min_examples < 1:
        raise UserError(f"--min_examples_per_client={min_examples}: must be 1 or more")


def check_clients(num_clients: int, available: int, what: str) -> None:
    """Raises UserError if --num_clients is below 1, or more than are available."""
    if num_clients < 1:
        raise UserError(f"--num_clients={num_clients}: must be 1 or more")
    if num_clients > available:
        raise UserError(f"--num_clients={num_clients}: there are only {available} {what}")
