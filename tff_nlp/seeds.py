"""Seeds that derive from the run's seed, so that the same command gives the same result."""

import hashlib

import numpy as np


def derive(run_seed: int, purpose: str, *parts: int | str) -> int:
    """Returns a seed in [0, 2^63) for one random choice.

    Args:
      run_seed: The seed of the whole run.
      purpose: What the random choice is for, for example "cohort" or "partition".
      *parts: What tells this choice from others of the same purpose: round, client id.

    Returns:
      The first 63 bits of a SHA-256 digest of the arguments: seeds of different arguments are
      independent for all practical purposes, and stable across machines and Python versions.

    """
    return int.from_bytes(_digest(run_seed, purpose, *parts)[:8], "little") >> 1


def generator(run_seed: int, purpose: str, *parts: int | str) -> np.random.Generator:
    """Returns a NumPy generator for one random choice (arguments as for `derive`).

    A run seed of more than 63 bits, which is a secret (`NoiseSecret.seed`), gives a generator that
    depends on all of its 256 bits.
    """
    if run_seed < 2**63:
        return np.random.default_rng(derive(run_seed, purpose, *parts))
    digest = _digest(run_seed, purpose, *parts)
    return np.random.default_rng(int.from_bytes(digest, "little"))


def _digest(run_seed: int, purpose: str, *parts: int | str) -> bytes:
    return hashlib.sha256(repr((int(run_seed), purpose, *parts)).encode()).digest()


def pair(run_seed: int, purpose: str, *parts: int | str) -> tuple[int, int]:
    """Returns two numbers below 2^31, the form of TensorFlow's stateless operations."""
    seed = derive(run_seed, purpose, *parts)
    return seed & 0x7FFFFFFF, (seed >> 31) & 0x7FFFFFFF
