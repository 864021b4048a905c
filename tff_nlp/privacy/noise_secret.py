"""The secret from which all noise of a run derives, and the keys for each of its uses.

Noise hides people only from those who cannot compute it. So it derives from 256 bits of the
operating system's randomness, and not from the run's seed, which is small, often 0, and saved in
config.json. HKDF (RFC 5869, its expand step with SHA-256) turns the secret into an independent key
for each round, client and purpose.
"""

import dataclasses
import hashlib
import os

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from tff_nlp import errors

BYTES = 32


@dataclasses.dataclass(frozen=True)
class NoiseSecret:
    """256 bits, and what derives from them.

    Attributes:
      value: The 32 bytes. Never printed.
      repeatable: Whether they come from a seed that others may know. No privacy holds then.
    """

    value: bytes = dataclasses.field(repr=False)
    repeatable: bool = False

    def __post_init__(self) -> None:
        if len(self.value) != BYTES:
            raise errors.UserError(f"the secret of the noise must have {BYTES} bytes")

    @classmethod
    def fresh(cls) -> "NoiseSecret":
        """Returns a new secret from the operating system."""
        return cls(os.urandom(BYTES))

    @classmethod
    def from_seed(cls, seed: int) -> "NoiseSecret":
        """Returns what a seed gives: noise that repeats, for research only.

        Args:
          seed: Any integer, as --noise_seed.
        """
        return cls(hashlib.sha256(f"noise seed {int(seed)}".encode()).digest(), repeatable=True)

    def key(self, purpose: str, *parts: int | str) -> np.ndarray:
        """Returns uint32[8], a key of 256 bits for one use.

        Args:
          purpose: What the key is for.
          *parts: What distinguishes this use from others of the purpose: round, client id.
        """
        return np.frombuffer(self._expand(purpose, *parts), "<u4").astype(np.uint32)

    def seed(self, purpose: str, *parts: int | str) -> int:
        """Returns 256 bits as an integer, in place of a run's seed where that must be secret.

        Args:
          purpose: What the seed is for.
          *parts: As for `key`.
        """
        return int.from_bytes(self._expand(purpose, *parts), "little")

    def _expand(self, purpose: str, *parts: int | str) -> bytes:
        info = repr((purpose, *parts)).encode()
        return HKDFExpand(hashes.SHA256(), BYTES, info).derive(self.value)
