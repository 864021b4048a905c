"""Masks: a seed of 32 bytes expanded to vectors of integers, uniform modulo each modulus.

The generator is AES-256 in counter mode over a key that is used for nothing else. Its words are
taken in stretches of `STRETCH` entries, vector after vector. For a modulus that is no power of two
a word at or above the largest multiple of the modulus is replaced by one drawn after the stretch,
again and again until none is left, so that each residue has the same probability. Both owners of a
seed follow this rule: it is part of the messages' version.
"""

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from cryptography.hazmat.primitives import ciphers
from cryptography.hazmat.primitives.ciphers import algorithms, modes

from tff_nlp.aggregation.secure_aggregation import modular, session

STRETCH = 2**15
# How many masks are expanded at a time: each keeps a cipher open, a stretch of the sum stays in the
# processor's cache meanwhile.
_AT_ONCE = 64
_BLOCK_BYTES = 16
_ZEROS = memoryview(bytes(STRETCH * 8))


class Keystream:
    """The words of one seed, in order."""

    def __init__(self, seed: bytes) -> None:
        cipher = ciphers.Cipher(algorithms.AES(seed), modes.CTR(bytes(_BLOCK_BYTES)))
        self._encryptor = cipher.encryptor()

    def residues(self, count: int, modulus: int, scratch: bytearray) -> np.ndarray:
        """Returns word[count] that are uniform modulo a modulus: any words for a power of two.

        Args:
          count: At most STRETCH.
          modulus: From 2 to 2^62.
          scratch: From `new_scratch`; the result lives in it until the next call.
        """
        kind = modular.word(modulus)
        self._encryptor.update_into(_ZEROS[: count * kind.itemsize], scratch)
        words = np.frombuffer(scratch, kind, count)
        if modular.is_power_of_two(modulus):
            return words
        multiple = 2 ** (8 * kind.itemsize) // modulus * modulus
        outside = np.flatnonzero(words >= kind.type(multiple))
        while outside.size:
            fresh = self._encryptor.update(bytes(outside.size * kind.itemsize))
            words[outside] = np.frombuffer(fresh, kind)
            outside = outside[words[outside] >= kind.type(multiple)]
        # NumPy divides by a scalar several times faster than it takes remainders.
        words -= words // kind.type(modulus) * kind.type(modulus)
        return words


def new_scratch() -> bytearray:
    """Returns room for one stretch, with the reserve that ciphers ask for."""
    return bytearray(STRETCH * 8 + _BLOCK_BYTES)


def apply(
    totals: Sequence[np.ndarray],
    vectors: Sequence[session.Vector],
    masks: Iterable[tuple[bytes, int]],
) -> None:
    """Adds and subtracts masks to and from sums, in place.

    Args:
      totals: A sum (see `modular`) for each vector.
      vectors: Their lengths and moduli.
      masks: Seeds, each with 1 to add its mask or -1 to subtract it.
    """
    masks = iter(masks)
    scratch = new_scratch()
    while batch := list(itertools.islice(masks, _AT_ONCE)):
        streams = [(Keystream(seed), sign) for seed, sign in batch]
        for total, vector in zip(totals, vectors, strict=True):
            for start in range(0, vector.length, STRETCH):
                part = total[start : start + STRETCH]
                for stream, sign in streams:
                    mask = stream.residues(len(part), vector.modulus, scratch)
                    change = modular.add if sign > 0 else modular.subtract
                    change(part, mask, vector.modulus)
