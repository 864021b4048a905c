"""Mask expansion against AES block by block, and its probabilities."""

import numpy as np
import pytest
from cryptography.hazmat.primitives import ciphers
from cryptography.hazmat.primitives.ciphers import algorithms, modes

from tff_nlp.aggregation.secure_aggregation import masks, modular, session

MODULI = [2, 3, 2**8, 1_000_003, 2**24, 2**24 + 1, 2**32, 2**32 + 15, 3 * 2**60, 2**62 - 57, 2**62]


def keystream(seed, size):
    """Returns the generator's output by definition: the encryption of 0, 1, 2, ..."""
    encryptor = ciphers.Cipher(algorithms.AES(seed), modes.ECB()).encryptor()
    blocks = b"".join(i.to_bytes(16, "big") for i in range(-(-size // 16)))
    return encryptor.update(blocks)[:size]


def by_definition(seed, vectors):
    """Returns the masks of the vectors, computed one word at a time."""
    stream = iter(keystream(seed, 40 * sum(v.length for v in vectors) + 4096))

    def draw(width):
        return int.from_bytes(bytes(next(stream) for _ in range(width)), "little")

    found = []
    for vector in vectors:
        m, entries = vector.modulus, []
        power = m & (m - 1) == 0
        width = 4 if m <= (2**32 if power else 2**24) else 8
        multiple = 256**width // m * m
        for start in range(0, vector.length, masks.STRETCH):
            words = [draw(width) for _ in range(min(masks.STRETCH, vector.length - start))]
            while any(word >= multiple for word in words):
                places = [i for i, word in enumerate(words) if word >= multiple]
                for i in places:
                    words[i] = draw(width)
            entries += [word % m for word in words]
        found.append(entries)
    return found


def expand(seed, vectors):
    totals = modular.zeros(vectors)
    masks.apply(totals, vectors, [(seed, 1)])
    return [modular.residues(t, v.modulus) for t, v in zip(totals, vectors, strict=True)]


def test_every_modulus_follows_the_definition():
    vectors = [session.Vector(50 + i, modulus) for i, modulus in enumerate(MODULI)]
    seed = bytes(range(32))
    for got, wanted in zip(expand(seed, vectors), by_definition(seed, vectors), strict=True):
        assert got.tolist() == wanted


@pytest.mark.parametrize("modulus", [2**20, 3 * 2**60])
def test_several_stretches_follow_the_definition(modulus):
    vectors = [session.Vector(masks.STRETCH + 3, modulus), session.Vector(4, 5)]
    for got, wanted in zip(
        expand(b"s" * 32, vectors), by_definition(b"s" * 32, vectors), strict=True
    ):
        assert got.tolist() == wanted


def chi_square(residues, modulus, cells):
    counts = np.bincount((residues.astype(object) * cells // modulus).astype(int), minlength=cells)
    expected = len(residues) / cells
    return float(np.sum((counts - expected) ** 2 / expected))


@pytest.mark.parametrize("modulus", [12, 12 * 17, 12 * 2**20, 3 * 2**60])
def test_residues_are_uniform(modulus):
    [residues] = expand(b"u" * 32, [session.Vector(40_000, modulus)])
    assert residues.max() < modulus
    # With 11 degrees of freedom, 37.4 is exceeded by chance once in 10,000 runs.
    assert chi_square(residues, modulus, 12) < 37.4


def test_the_test_of_uniformity_sees_the_plain_remainder():
    modulus = 3 * 2**60
    words = np.frombuffer(keystream(b"u" * 32, 8 * 40_000), "<u8")
    assert chi_square(words % modulus, modulus, 12) > 100


@pytest.mark.parametrize("modulus", MODULI)
def test_added_and_subtracted_masks_cancel(modulus):
    vectors = [session.Vector(masks.STRETCH + 7, modulus)]
    start = np.arange(masks.STRETCH + 7) % modulus
    totals = [start.astype(modular.word(modulus))]
    seeds = [bytes([i]) * 32 for i in range(70)]
    masks.apply(totals, vectors, [(seed, 1) for seed in seeds])
    assert not np.array_equal(modular.residues(totals[0], modulus), start)
    masks.apply(totals, vectors, ((seed, -1) for seed in reversed(seeds)))
    assert modular.residues(totals[0], modulus).tolist() == start.tolist()


def test_other_seeds_give_other_masks():
    vectors = [session.Vector(64, 2**32)]
    [one], [other] = expand(b"1" * 32, vectors), expand(b"2" * 32, vectors)
    assert np.mean(one == other) < 0.1


def test_vectors_and_entries_may_be_missing():
    masks.apply([], [], [(b"1" * 32, 1)])
    assert expand(b"1" * 32, [session.Vector(0, 7)])[0].size == 0
