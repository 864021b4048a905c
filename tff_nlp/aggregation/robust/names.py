"""Names of the robust aggregators, and how many attackers each withstands. Needs no TensorFlow."""

from collections.abc import Mapping
from typing import Any

from tff_nlp import errors

MEAN = "mean"
NORM_BOUND = "norm_bound"
KRUM, MULTI_KRUM, BULYAN = "krum", "multi_krum", "bulyan"
MEDIAN, TRIMMED_MEAN = "median", "trimmed_mean"
GEOMETRIC_MEDIAN, CENTERED_CLIPPING = "geometric_median", "centered_clipping"

# With f attackers, the least number of clients is a f + b. The values are (a, b).
_LEAST: Mapping[str, tuple[int, int]] = {
    KRUM: (2, 3),
    MULTI_KRUM: (2, 3),
    MEDIAN: (2, 1),
    TRIMMED_MEAN: (2, 1),
    GEOMETRIC_MEDIAN: (2, 1),
    BULYAN: (4, 3),
    CENTERED_CLIPPING: (2, 1),
}
# They compare single updates. A norm bound looks at one update at a time.
COMPARING = tuple(_LEAST)
AGGREGATORS = (MEAN, NORM_BOUND, *COMPARING)
# These rules need the number of attackers.
COUNTING = (KRUM, MULTI_KRUM, BULYAN, TRIMMED_MEAN)

# The share of the clients that a rule withstands if nothing else is said.
_SHARE = 0.2


def most_attackers(name: str, clients: Any) -> Any:
    """Returns the largest number of attackers that a rule withstands, 0 or more.

    Args:
      name: One of `COMPARING`.
      clients: Number of clients, an int or an int32 tensor.
    """
    factor, rest = _LEAST[name]
    # Without a maximum, which NumPy and TensorFlow compute by different functions.
    most = (clients - rest) // factor
    return (most + abs(most)) // 2


def attackers_of(name: str, clients: int, wanted: int | None) -> int:
    """Returns the number f of attackers that a rule is to withstand.

    Args:
      name: One of `COMPARING`.
      clients: Number of clients in a round.
      wanted: The number that is asked for; None for a fifth of the clients, or for fewer if the
        rule cannot withstand so many.

    Raises:
      UserError: If there are too few clients for the rule, or for the wanted number.
    """
    factor, rest = _LEAST[name]
    if clients < rest:
        raise errors.UserError(
            f"`clients_per_round`={clients}: `aggregator`={name} needs {rest} or more"
        )
    most = most_attackers(name, clients)
    if wanted is None:
        return min(most, int(_SHARE * clients))
    if wanted > most:
        raise errors.UserError(
            f"`byzantine_clients`={wanted}: `aggregator`={name} needs {factor} f + {rest} clients "
            f"to withstand f attackers, and a round has {clients}; take {most} or fewer"
        )
    return wanted
