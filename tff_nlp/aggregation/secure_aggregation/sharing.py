"""Shamir's secret sharing over a prime field (Shamir 1979)."""

import secrets
from collections.abc import Mapping, Sequence

# The largest prime below 2^256. An element takes 32 bytes. A 32-byte X25519 key is an element,
# because its highest bit is never set.
PRIME = 2**256 - 189
ELEMENT_BYTES = 32


def split(secret: int, threshold: int, points: Sequence[int]) -> list[int]:
    """Returns a share for each point. Any `threshold` of them give the secret; fewer give nothing.

    The shares are the values, at the points, of a polynomial of degree threshold - 1. Its constant
    term is the secret, and its other coefficients are random.

    Args:
      secret: An element of the field.
      threshold: Number of shares that are needed to reconstruct the secret.
      points: Distinct elements of the field, without 0.

    Raises:
      ValueError: If an argument is out of range.
    """
    if not 0 <= secret < PRIME:
        raise ValueError("a secret must be an element of the field")
    if not 1 <= threshold <= len(points):
        raise ValueError(f"{threshold} of {len(points)} shares cannot be a threshold")
    _check_points(points)
    coefficients = [secrets.randbelow(PRIME) for _ in range(threshold - 1)]
    return [_evaluate(secret, coefficients, point) for point in points]


def _evaluate(constant: int, coefficients: Sequence[int], point: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = (value + coefficient) * point % PRIME
    return (value + constant) % PRIME


def weights(points: Sequence[int]) -> dict[int, int]:
    """Returns the weight of each point's share in `combine`: Lagrange's polynomials at 0.

    Raises:
      ValueError: If points repeat, are 0 or are not elements of the field.
    """
    _check_points(points)
    found = {}
    for point in points:
        numerator = denominator = 1
        for other in points:
            if other != point:
                numerator = numerator * other % PRIME
                denominator = denominator * (other - point) % PRIME
        found[point] = numerator * pow(denominator, -1, PRIME) % PRIME
    return found


def combine(weights_of_points: Mapping[int, int], shares: Mapping[int, int]) -> int:
    """Reconstructs the secret from as many shares as the threshold.

    Args:
      weights_of_points: Result of `weights` for the points.
      shares: The share at each of these points.
    """
    return sum(weight * shares[point] for point, weight in weights_of_points.items()) % PRIME


def _check_points(points: Sequence[int]) -> None:
    if len(set(points)) < len(points) or not all(0 < point < PRIME for point in points):
        raise ValueError("points must be distinct elements of the field other than 0")
