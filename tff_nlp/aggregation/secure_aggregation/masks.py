"""Masks: a seed of 32 bytes is expanded to vectors of integers that are uniform modulo a modulus.

The generator is AES-256 in counter mode, with a key that is used for nothing else. Its words are
taken in stretches of `STRETCH` entries, one vector after another. If the modulus is not a power of
two, a word at or above the largest multiple of the modulus is replaced by a word drawn after the
stretch. This repeats until no such word is left, so each residue has the same probability. Both
owners of a seed must follow this rule, so it belongs to the version of the messages.
"""

import itertools
from collections.abc import Iterable, Sequence

import numpy as np
from cryptography.hazmat.primitives import ciphers
from cryptography.hazmat.primitives.ciphers import algorithms, modes

from tff_nlp.aggregation.secure_aggregation import modular, session

STRETCH = 2**15
# Number of masks that are expanded at a time. Each keeps a cipher open, and a stretch of the sum
# stays in the processor's cache for all of them.
_AT_ONCE = 64
_BLOCK_BYTES = 16
_ZEROS = memoryview(bytes(STRETCH * 8))


class Keystream:
    """The random words of one seed, in order."""

    def __init__(self, seed: bytes) -> None:
        cipher = ciphers.Cipher(algorithms.AES(seed), modes.CTR(bytes(_BLOCK_BYTES)))
        self._encryptor = cipher.encryptor()

    def residues(self, count: int, modulus: int, scratch: bytearray) -> np.ndarray:
        """Returns the next words, word[count], which are uniform modulo a modulus.

        For a power of two, words may be larger than the modulus. Otherwise they are below it.

        Args:
          count: Number of words, at most STRETCH.
          modulus: The modulus, from 2 to 2^62.
          scratch: Buffer from `new_scratch`. It holds the result until the next call.
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
        # In NumPy, dividing by a scalar is several times faster than taking remainders.
        words -= words // kind.type(modulus) * kind.type(modulus)
        return words


def new_scratch() -> bytearray:
    """Returns a buffer for one stretch, with the extra block that ciphers need."""
    return bytearray(STRETCH * 8 + _BLOCK_BYTES)


def apply(
    totals: Sequence[np.ndarray],
    vectors: Sequence[session.Vector],
    masks: Iterable[tuple[bytes, int]],
) -> None:
    """Adds masks to sums, or subtracts them, in place.

    Args:
      totals: One sum per vector, word[length] (see `modular`).
      vectors: The lengths and moduli of the sums.
      masks: Pairs of a seed and a sign: 1 adds the mask, -1 subtracts it.
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
