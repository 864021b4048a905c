"""Vectors of integers modulo a number, in unsigned words.

A word has 32 bits for powers of two up to 2^32 and for other moduli up to 2^24, otherwise 64 bits.
So random words are rarely above the largest multiple of the modulus (see `masks`), and the sum of
two residues fits into a word.

For a power of two, a sum may hold any word: the machine's arithmetic wraps at a multiple of the
modulus, and `residues` reduces the sum at the end. For other moduli a sum is always reduced.
"""

from collections.abc import Iterable

import numpy as np

from tff_nlp.aggregation.secure_aggregation import session

_WIDEST_REDUCED_MODULUS_IN_32_BITS = 2**24


def is_power_of_two(modulus: int) -> bool:
    """Whether a modulus is a power of two, so that sums may wrap at the word size."""
    return modulus & (modulus - 1) == 0


def word(modulus: int) -> np.dtype:
    """Returns the type of the words for a modulus."""
    short = modulus <= (2**32 if is_power_of_two(modulus) else _WIDEST_REDUCED_MODULUS_IN_32_BITS)
    return np.dtype("<u4" if short else "<u8")


def zeros(vectors: Iterable[session.Vector]) -> list[np.ndarray]:
    """Returns sums of zero, word[length] each."""
    return [np.zeros(vector.length, word(vector.modulus)) for vector in vectors]


def from_integers(values: np.ndarray, modulus: int) -> np.ndarray:
    """Returns integers as a sum of one vector, word[length].

    Args:
      values: Integers of any type and shape. Each stands for its remainder, as in Python, which is
        not negative.
      modulus: The modulus, from 2 to 2^62.

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
        # If the total is below the modulus, the difference wraps to a larger number.
        np.minimum(total, total - total.dtype.type(modulus), out=total)


def subtract(total: np.ndarray, subtrahend: np.ndarray, modulus: int) -> None:
    """Subtracts from a sum in place."""
    np.subtract(total, subtrahend, out=total)
    if not is_power_of_two(modulus):
        # If the difference wrapped, adding the modulus wraps back to a smaller number.
        np.minimum(total, total + total.dtype.type(modulus), out=total)


def residues(total: np.ndarray, modulus: int) -> np.ndarray:
    """Returns a sum with all entries reduced to 0 to modulus - 1, word[length]."""
    if is_power_of_two(modulus):
        return total & total.dtype.type(modulus - 1)
    return total
