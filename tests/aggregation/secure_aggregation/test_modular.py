"""Modular vectors against Python's integers."""

import numpy as np
import pytest

from tff_nlp.aggregation.secure_aggregation import modular

MODULI = [2, 3, 7, 2**16, 2**24 - 3, 2**24 + 43, 2**31, 2**32, 2**33, 2**61 - 1, 2**62 - 57, 2**62]


@pytest.mark.parametrize("modulus", MODULI)
def test_sums_and_differences(modulus):
    generator = np.random.default_rng(modulus % 1000)
    rows = generator.integers(0, modulus, (20, 30))
    rows[0, :3] = rows[1, :3] = modulus - 1
    rows[2, :3] = 0
    total, expected = np.zeros(30, modular.word(modulus)), [0] * 30
    for index, row in enumerate(rows):
        sign = 1 if index % 3 else -1
        change = modular.add if sign > 0 else modular.subtract
        change(total, modular.from_integers(row, modulus), modulus)
        expected = [(e + sign * int(r)) % modulus for e, r in zip(expected, row, strict=True)]
        assert modular.residues(total, modulus).tolist() == expected


@pytest.mark.parametrize("modulus", MODULI)
@pytest.mark.parametrize("kind", [np.int8, np.int32, np.int64, np.uint32, np.uint64])
def test_any_integer_stands_for_its_remainder(modulus, kind):
    info = np.iinfo(kind)
    values = np.array([[info.min, info.max, 0], [1, info.max - 1, 5]], kind)
    got = modular.residues(modular.from_integers(values, modulus), modulus)
    assert got.tolist() == [int(v) % modulus for v in values.ravel()]


@pytest.mark.parametrize("kind", [np.float32, np.bool_])
def test_only_integers(kind):
    with pytest.raises(TypeError, match="sums integers"):
        modular.from_integers(np.zeros(2, kind), 8)
