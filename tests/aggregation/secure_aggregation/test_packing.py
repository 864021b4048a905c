"""Packed integers against one long Python integer."""

import numpy as np
import pytest

from tff_nlp.aggregation.secure_aggregation import packing


@pytest.mark.parametrize("bits", [1, 2, 7, 8, 13, 16, 20, 31, 32, 33, 47, 61, 62])
@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 20_000])
def test_packing(bits, length):
    values = np.random.default_rng(bits).integers(0, 2**bits, length)
    if length:
        values[-1] = 2**bits - 1
    packed = packing.pack(values.astype(np.uint64), bits)
    assert len(packed) == packing.packed_bytes(length, bits) == (length * bits + 7) // 8
    if length <= 65:
        whole = sum(int(v) << (i * bits) for i, v in enumerate(values))
        assert packed == whole.to_bytes(len(packed), "little")
    assert np.array_equal(packing.unpack(packed, length, bits), values)


@pytest.mark.parametrize("bits", [5, 8])
def test_another_size_is_refused(bits):
    packed = packing.pack(np.arange(10, dtype=np.uint64), bits)
    for wrong in (packed[:-1], packed + b"\0", b""):
        with pytest.raises(ValueError, match="10 integers"):
            packing.unpack(wrong, 10, bits)


def test_bits_after_the_last_are_refused():
    packed = bytearray(packing.pack(np.arange(3, dtype=np.uint64), 5))
    packed[-1] |= 0x80
    with pytest.raises(ValueError, match="after the last"):
        packing.unpack(bytes(packed), 3, 5)
