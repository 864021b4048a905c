"""The secret from which all noise of a run derives, and the keys for each use.

Noise protects people only if others cannot compute it. So it derives from 256 random bits of the
operating system, and not from the run's seed, which is small, often 0, and saved in config.json.
HKDF (RFC 5869, the expand step with SHA-256) derives an independent key for each round, client and
purpose from the secret.
"""

import dataclasses
import hashlib
import os

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from tff_nlp import errors
from tff_nlp.privacy import names

BYTES = 32


@dataclasses.dataclass(frozen=True)
class NoiseSecret:
    """A secret of 256 bits, from which keys and seeds derive.

    Attributes:
      value: The 32 bytes of the secret. They are never printed.
      repeatable: Whether the secret derives from a seed that others may know. Then there is no
        privacy.
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
        """Returns a secret that derives from a seed. The noise is repeatable; for research only.

        Args:
          seed: Any integer, the value of `noise_seed`.
        """
        return cls(hashlib.sha256(f"noise seed {int(seed)}".encode()).digest(), repeatable=True)

    def key(self, purpose: str, *parts: int | str) -> np.ndarray:
        """Returns a key of 256 bits for one use, uint32[8].

        Args:
          purpose: Purpose of the key.
          *parts: Values that distinguish this use from others with the same purpose, for example
            the round and the client id.
        """
        return np.frombuffer(self._expand(purpose, *parts), "<u4").astype(np.uint32)

    def seed(self, purpose: str, *parts: int | str) -> int:
        """Returns a secret seed for one use, an integer of 256 bits.

        Args:
          purpose: Purpose of the seed.
          *parts: As for `key`.
        """
        return int.from_bytes(self._expand(purpose, *parts), "little")

    def _expand(self, purpose: str, *parts: int | str) -> bytes:
        info = repr((purpose, *parts)).encode()
        return HKDFExpand(hashes.SHA256(), BYTES, info).derive(self.value)


def cohort_seed(sampling: str, mechanism: str, seed: int, secret: NoiseSecret | None) -> int:
    """Returns the seed of the cohorts.

    Some accountants assume that the cohorts are secret. Then the seed derives from the secret of
    the noise, because the run's seed can be guessed.

    Args:
      sampling: How cohorts are drawn.
      mechanism: The mechanism; any other name if there is none.
      seed: The run's seed.
      secret: The secret of the noise; None without privacy.
    """
    amplified = mechanism in (*names.CLIENT_LEVEL, names.OTHER) and sampling != names.CYCLIC
    if secret is None or secret.repeatable or not amplified:
        return seed
    return secret.seed("cohorts")
