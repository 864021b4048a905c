"""Keys of noise against a written-out HKDF."""

import hashlib
import hmac

import numpy as np
import pytest

from tff_nlp import errors, seeds
from tff_nlp.privacy.noise_secret import NoiseSecret


def test_a_key_is_hkdfs():
    """RFC 5869, section 2.3: one block of HMAC is enough for 32 bytes."""
    secret = NoiseSecret(bytes(range(32)))
    info = repr(("client", 3, "hospital")).encode()
    expected = hmac.new(bytes(range(32)), info + b"\x01", hashlib.sha256).digest()
    key = secret.key("client", 3, "hospital")
    assert key.dtype == np.uint32 and key.astype("<u4").tobytes() == expected


def test_keys_of_different_uses_differ_and_secrets_are_fresh():
    secret = NoiseSecret.fresh()
    uses = [("round", 1), ("round", 11), ("client", 1, 1), ("client", 11, 1), ("client", 1, 11)]
    assert len({secret.key(*use).tobytes() for use in uses}) == len(uses)
    assert NoiseSecret.fresh().value != secret.value
    assert secret.value.hex() not in repr(secret)


def test_a_seed_gives_a_repeatable_secret():
    assert NoiseSecret.from_seed(0).value == NoiseSecret.from_seed(0).value
    assert NoiseSecret.from_seed(0).value != NoiseSecret.from_seed(1).value
    assert NoiseSecret.from_seed(0).repeatable and not NoiseSecret.fresh().repeatable


def test_a_generator_depends_on_all_bits_of_a_secret():
    """A run's seed has 63 bits. A secret has more, and its high bits must have an effect, too."""
    secret = NoiseSecret.fresh().seed("cohorts") | 1 << 255
    draws = {
        tuple(seeds.generator(secret ^ (1 << bit), "cohort", 4).integers(2**32, size=4).tolist())
        for bit in (0, 64, 200)
    }
    assert len(draws) == 3


def test_another_length_is_refused():
    with pytest.raises(errors.UserError, match="32 bytes"):
        NoiseSecret(b"short")
