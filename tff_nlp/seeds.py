"""Seeds that derive from the run's seed. So the same command gives the same result."""

import hashlib

import numpy as np


def derive(run_seed: int, purpose: str, *parts: int | str) -> int:
    """Returns a seed in [0, 2^63) for one random choice.

    Args:
      run_seed: Seed of the run.
      purpose: Purpose of the random choice, for example "cohort" or "partition".
      *parts: Values that distinguish this choice from others with the same purpose, for example the
        round and the client id.

    Returns:
      63 bits of a SHA-256 digest of the arguments. Seeds of different arguments are independent for
      all practical purposes. They are the same on all machines and Python versions.
    """
    return int.from_bytes(_digest(run_seed, purpose, *parts)[:8], "little") >> 1


def generator(run_seed: int, purpose: str, *parts: int | str) -> np.random.Generator:
    """Returns a NumPy generator for one random choice. The arguments are those of `derive`.

    A run seed of more than 63 bits is a secret (`NoiseSecret.seed`). Its generator depends on all
    256 bits.
    """
    if run_seed < 2**63:
        return np.random.default_rng(derive(run_seed, purpose, *parts))
    digest = _digest(run_seed, purpose, *parts)
    return np.random.default_rng(int.from_bytes(digest, "little"))


def _digest(run_seed: int, purpose: str, *parts: int | str) -> bytes:
    return hashlib.sha256(repr((int(run_seed), purpose, *parts)).encode()).digest()


def pair(run_seed: int, purpose: str, *parts: int | str) -> tuple[int, int]:
    """Returns a seed for TensorFlow's stateless operations: two numbers from 0 to 2^31 - 1.

    The arguments are those of `derive`.
    """
    seed = derive(run_seed, purpose, *parts)
    return seed & 0x7FFFFFFF, (seed >> 31) & 0x7FFFFFFF
