"""Integers of any width up to 64 bits, packed without gaps.

Entry i begins at bit i * bits, counted from the lowest bit of the first byte.
"""

import numpy as np

# 64 integers of b bits fill b words of 64 bits.
_BLOCK = 64
# Number of blocks that are packed at a time. They fit into the processor's cache.
_BLOCKS_AT_ONCE = 256
_WHOLE_WORDS = (8, 16, 32, 64)


def packed_bytes(length: int, bits: int) -> int:
    """Returns the number of bytes that `length` integers of `bits` bits need."""
    return -(-length * bits // 8)


def pack(values: np.ndarray, bits: int) -> bytes:
    """Packs unsigned integers below 2^bits, [length], into `packed_bytes` bytes."""
    if bits in _WHOLE_WORDS:
        return values.astype(f"<u{bits // 8}").tobytes()
    blocks = -(-len(values) // _BLOCK)
    packed = np.zeros((blocks, bits), "<u8")
    for first in range(0, blocks, _BLOCKS_AT_ONCE):
        words = packed[first : first + _BLOCKS_AT_ONCE]
        padded = np.zeros(len(words) * _BLOCK, "<u8")
        part = values[first * _BLOCK :][: len(padded)]
        padded[: len(part)] = part
        columns = padded.reshape(-1, _BLOCK)
        for index in range(_BLOCK):
            place, shift = divmod(index * bits, 64)
            words[:, place] |= columns[:, index] << np.uint64(shift)
            if shift + bits > 64:
                words[:, place + 1] |= columns[:, index] >> np.uint64(64 - shift)
    return packed.tobytes()[: packed_bytes(len(values), bits)]


def unpack(data: bytes | memoryview, length: int, bits: int) -> np.ndarray:
    """Reverses `pack` and returns uint64[length].

    Raises:
      ValueError: If the number of bytes is wrong, or a bit after the last integer is set.
    """
    if len(data) != packed_bytes(length, bits):
        raise ValueError(f"{len(data)} bytes are not {length} integers of {bits} bits")
    if bits in _WHOLE_WORDS:
        return np.frombuffer(data, f"<u{bits // 8}").astype("<u8")
    blocks = -(-length // _BLOCK)
    packed = np.zeros(blocks * bits * 8, np.uint8)
    packed[: len(data)] = np.frombuffer(data, np.uint8)
    packed_words = packed.view("<u8").reshape(blocks, bits)
    values = np.empty((blocks, _BLOCK), "<u8")
    mask = np.uint64(2**bits - 1)
    for first in range(0, blocks, _BLOCKS_AT_ONCE):
        words = packed_words[first : first + _BLOCKS_AT_ONCE]
        columns = values[first : first + _BLOCKS_AT_ONCE]
        for index in range(_BLOCK):
            place, shift = divmod(index * bits, 64)
            column = words[:, place] >> np.uint64(shift)
            if shift + bits > 64:
                column |= words[:, place + 1] << np.uint64(64 - shift)
            columns[:, index] = column & mask
    flat = values.reshape(-1)
    if np.any(flat[length:]):
        raise ValueError("bits after the last integer are set")
    return flat[:length]
