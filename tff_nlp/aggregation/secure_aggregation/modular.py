"""Vectors of integers modulo a number, in unsigned words.

The word is 32 bits wide for powers of two up to 2^32 and for moduli up to 2^24, else 64: so random
words rarely fall outside of the largest multiple of the modulus (see `masks`), and the sum of two
residues fits.

For a power of two a sum may hold any word: the machine's own wrapping keeps it right modulo every
smaller power, until `residues` cuts it. For other moduli a sum is always reduced.
"""

from collections.abc import Iterable

import numpy as np

from tff_nlp.aggregation.secure_aggregation import session

_WIDEST_REDUCED_MODULUS_IN_32_BITS = 2**24


def is_power_of_two(modulus: int) -> bool:
    """Returns whether sums may wrap at the word."""
    return modulus & (modulus - 1) == 0


def word(modulus: int) -> np.dtype:
    """Returns the type of the words for a modulus."""
    short = modulus <= (2**32 if is_power_of_two(modulus) else _WIDEST_REDUCED_MODULUS_IN_32_BITS)
    return np.dtype("<u4" if short else "<u8")


def zeros(vectors: Iterable[session.Vector]) -> list[np.ndarray]:
    """Returns empty sums, word[length] each."""
    return [np.zeros(vector.length, word(vector.modulus)) for vector in vectors]


def from_integers(values: np.ndarray, modulus: int) -> np.ndarray:
    """Returns a sum, word[length], of one vector.

    Args:
      values: Integers of any type and shape; negative ones and those above the modulus stand for
        their remainder, as in Python.
      modulus: From 2 to 2^62.

    Raises:
      TypeError: If the values are not integers.
    """
    if values.dtype.kind not in "iu":
        raise TypeError(f"secure aggregation sums integers, not {values.dtype}")
    flat = values.reshape(-1)
    if is_power_of_two(modulus):
        # The remainder modulo 2^32 or 2^64, which is a multiple of the modulus.
        return flat.astype(word(modulus))
    if flat.dtype == np.uint64:
        return np.mod(flat, np.uint64(modulus)).astype(word(modulus))
    return np.mod(flat.astype(np.int64, copy=False), modulus).astype(word(modulus))


def add(total: np.ndarray, addend: np.ndarray, modulus: int) -> None:
    """Adds to a sum in place."""
    np.add(total, addend, out=total)
    if not is_power_of_two(modulus):
        # Where the total is below the modulus, the difference wraps to a larger number.
        np.minimum(total, total - total.dtype.type(modulus), out=total)


def subtract(total: np.ndarray, subtrahend: np.ndarray, modulus: int) -> None:
    """Subtracts from a sum in place."""
    np.subtract(total, subtrahend, out=total)
    if not is_power_of_two(modulus):
        # Where the difference wrapped, adding the modulus wraps back to a smaller number.
        np.minimum(total, total + total.dtype.type(modulus), out=total)


def residues(total: np.ndarray, modulus: int) -> np.ndarray:
    """Returns a sum with each entry from 0 to modulus - 1."""
    if is_power_of_two(modulus):
        return total & total.dtype.type(modulus - 1)
    return total
