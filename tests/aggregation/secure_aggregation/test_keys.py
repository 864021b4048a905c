"""The right parties derive equal keys, and all other keys differ."""

import pytest
from cryptography.hazmat.primitives.asymmetric import x25519

from tff_nlp.aggregation.secure_aggregation import keys, sharing

SESSION = b"s" * 32


@pytest.fixture
def pair():
    return keys.generate(), keys.generate()


def test_both_ends_of_a_pair_have_one_mask_seed(pair):
    one, two = pair
    seed = keys.pair_mask_seed(one, 4, keys.public(two), 9, SESSION)
    assert seed == keys.pair_mask_seed(two, 9, keys.public(one), 4, SESSION)
    others = {
        keys.pair_mask_seed(one, 4, keys.public(two), 8, SESSION),
        keys.pair_mask_seed(one, 4, keys.public(two), 9, b"t" * 32),
        keys.pair_mask_seed(one, 4, keys.public(keys.generate()), 9, SESSION),
    }
    assert len(seed) == 32
    assert len(others | {seed}) == 4


def test_a_key_comes_back_from_its_integer(pair):
    for key in pair:
        integer = keys.as_integer(key)
        assert integer < sharing.PRIME
        assert keys.public(keys.from_integer(integer)) == keys.public(key)
        # Clamped as in RFC 7748, section 5.
        assert integer % 8 == 0
        assert integer >> 254 == 1


def test_self_seeds_fill_the_field_and_commitments_bind_them():
    seeds = [keys.new_self_seed() for _ in range(300)]
    assert max(seeds) > 2**255
    assert len({keys.commitment(SESSION, 3, seed) for seed in seeds}) == 300
    assert keys.commitment(SESSION, 3, 5) != keys.commitment(SESSION, 4, 5)
    assert keys.commitment(SESSION, 3, 5) != keys.commitment(b"t" * 32, 3, 5)
    assert keys.self_mask_seed(SESSION, 3, 5) != keys.self_mask_seed(SESSION, 4, 5)


def box(own, owner, peer_key, peer, session_id=SESSION):
    return keys.ShareBox(own, owner, keys.public(peer_key), peer, session_id)


def test_shares_reach_their_receiver_only(pair):
    one, two = pair
    sealed = box(one, 1, two, 2).seal(7, sharing.PRIME - 1)
    assert len(sealed) == keys.SEALED_BYTES
    assert box(two, 2, one, 1).unseal(sealed) == (7, sharing.PRIME - 1)
    strangers = [
        box(one, 1, two, 2),  # sent back to the sender
        box(two, 2, one, 3),  # from somebody else
        box(two, 4, one, 1),  # for somebody else
        box(two, 2, one, 1, b"t" * 32),
        box(keys.generate(), 2, one, 1),
    ]
    for stranger in strangers:
        with pytest.raises(ValueError, match="not encrypted by"):
            stranger.unseal(sealed)


def test_each_changed_byte_of_sealed_shares_is_noticed(pair):
    one, two = pair
    sealed, receiver = box(one, 1, two, 2).seal(1, 2), box(two, 2, one, 1)
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(ValueError, match="not encrypted by"):
            receiver.unseal(bytes(changed))


def test_shares_out_of_the_field_are_refused(pair):
    one, two = pair
    with pytest.raises(ValueError, match="not an element"):
        box(two, 2, one, 1).unseal(box(one, 1, two, 2).seal(1, sharing.PRIME))


@pytest.mark.parametrize("point", [bytes(32), b"\1" + bytes(31)])
def test_points_of_low_order_give_no_secret(point):
    assert not keys.is_usable(point)
    with pytest.raises(ValueError):
        keys.pair_mask_seed(keys.generate(), 1, point, 2, SESSION)


def test_other_points_are_usable():
    assert keys.is_usable(x25519.X25519PrivateKey.generate().public_key().public_bytes_raw())
