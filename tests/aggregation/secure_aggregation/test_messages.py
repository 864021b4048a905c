"""Payloads are unchanged after encoding and decoding, and have only one encoding."""

import numpy as np
import pytest

from tff_nlp.aggregation.secure_aggregation import keys, messages, modular, refusals, session, wire

SEALED = {3: b"a" * keys.SEALED_BYTES, 9: b"b" * keys.SEALED_BYTES}
VALUES = [
    (messages.AdvertisedKeys(b"c" * 32, b"s" * 32), messages.decode_advertised_keys),
    (messages.SharedKeys(b"k" * 32, SEALED), messages.decode_shared_keys),
    (messages.SharedKeys(b"k" * 32, {}), messages.decode_shared_keys),
    (messages.Survivors((1, 2, 2**63 - 1), (3,)), messages.decode_survivors),
    (messages.Survivors((), ()), messages.decode_survivors),
    (messages.UnmaskShares({1: 5, 7: 2**255}, {3: 0}), messages.decode_unmask_shares),
]


@pytest.mark.parametrize(("value", "decode"), VALUES)
def test_payloads_come_back(value, decode):
    payload = value.encode()
    assert decode(memoryview(payload)) == value
    for wrong in (*(payload[:end] for end in range(len(payload))), payload + b"\0"):
        with pytest.raises(refusals.MessageRejectedError):
            decode(memoryview(wrong))


def test_a_roster_comes_back():
    size = messages.ADVERTISED_MESSAGE_BYTES
    payload = messages.encode_roster({7: b"7" * size, 2: b"2" * size})
    assert messages.decode_roster(memoryview(payload)) == [b"2" * size, b"7" * size]
    for wrong in (payload[:-1], payload + b"\0", b""):
        with pytest.raises(refusals.MessageRejectedError):
            messages.decode_roster(memoryview(wrong))


def test_signatures_come_back():
    signatures = {7: b"7" * 64, 2: b"2" * 64}
    payload = messages.encode_signatures(signatures)
    assert messages.decode_signatures(memoryview(payload)) == signatures
    for wrong in (*(payload[:end] for end in range(len(payload))), payload + b"\0"):
        with pytest.raises(refusals.MessageRejectedError):
            messages.decode_signatures(memoryview(wrong))


def test_other_sets_of_survivors_have_other_digests():
    sets = [((1, 2), ()), ((1,), (2,)), ((), (1, 2)), ((1, 2), (3,)), ((1, 2, 3), ())]
    assert len({messages.Survivors(*pair).digest for pair in sets}) == len(sets)


@pytest.mark.parametrize("ids", [(2, 1), (1, 1)])
def test_lists_ascend(ids):
    request = messages.Survivors(ids, ()).encode()
    with pytest.raises(refusals.MessageRejectedError, match="ascend"):
        messages.decode_survivors(memoryview(request))
    sealed = wire.u32(2) + b"".join(wire.u64(i) + SEALED[3] for i in ids)
    with pytest.raises(refusals.MessageRejectedError, match="ascend"):
        messages.decode_sealed(memoryview(sealed))
    shares = wire.u32(2) + b"".join(wire.u64(i) + bytes(32) for i in ids) + wire.u32(0)
    with pytest.raises(refusals.MessageRejectedError, match="ascend"):
        messages.decode_unmask_shares(memoryview(shares))


def test_shares_are_in_the_field():
    shares = wire.u32(1) + wire.u64(1) + b"\xff" * 32 + wire.u32(0)
    with pytest.raises(refusals.MessageRejectedError, match="field"):
        messages.decode_unmask_shares(memoryview(shares))


def test_vectors_come_back_in_their_bits():
    vectors = [session.Vector(5, 2**20), session.Vector(3, 1000), session.Vector(2, 2**62)]
    values = [[0, 1, 2**20 - 1, 7, 9], [0, 999, 5], [2**62 - 1, 1]]
    totals = [
        modular.from_integers(np.array(v), x.modulus) for v, x in zip(values, vectors, strict=True)
    ]
    payload = messages.encode_vectors(totals, vectors)
    assert len(payload) == 13 + 4 + 16
    decoded = messages.decode_vectors(memoryview(payload), vectors)
    assert [d.tolist() for d in decoded] == values
    for wrong in (*(payload[:end] for end in range(len(payload))), payload + b"\0"):
        with pytest.raises(refusals.MessageRejectedError):
            messages.decode_vectors(memoryview(wrong), vectors)


def test_masked_entries_are_below_their_modulus():
    wide, narrow = [session.Vector(2, 1024)], [session.Vector(2, 1000)]
    payload = messages.encode_vectors([np.array([3, 1000], "<u4")], wide)
    with pytest.raises(refusals.MessageRejectedError, match="not below its modulus"):
        messages.decode_vectors(memoryview(payload), narrow)
