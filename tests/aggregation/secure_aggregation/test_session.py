"""The parameters of a round: thresholds, ranges, and the session id."""

import dataclasses

import pytest

from tff_nlp import errors
from tff_nlp.aggregation.secure_aggregation import refusals, session

VECTORS = (session.Vector(4, 2**20), session.Vector(0, 3))


def test_no_two_sets_of_survivors_find_enough_signatures():
    """Counts the signatures: honest clients sign one of two sets, colluders sign both."""
    for clients in range(2, 12):
        for colluders in range(clients - 1):
            honest = clients - colluders
            most_for_both = max(
                min(colluders + first, colluders + honest - first) for first in range(honest + 1)
            )
            assert session.least_threshold(clients, colluders) == most_for_both + 1


@pytest.mark.parametrize(
    ("clients", "threshold", "honest"),
    [(2, 2, 2), (3, 2, 2), (4, 3, 2), (5, 4, 3), (10, 7, 4), (21, 14, 8), (100, 67, 34)],
)
def test_by_default_colluders_below_a_third_are_withstood(clients, threshold, honest):
    colluders = session.fewer_than_a_third(clients)
    assert 3 * colluders < clients <= 3 * (colluders + 1)
    assert session.new(range(clients), VECTORS).threshold == threshold
    # Bonawitz et al. 2017 use floor(2 n / 3) + 1. For multiples of 3, one less is enough.
    assert threshold == 2 * clients // 3 + 1 - (clients % 3 == 0)
    assert threshold - colluders == honest


@pytest.mark.parametrize(
    ("clients", "threshold", "message"),
    [
        (1, None, "at least 2 clients, here are 1"),
        (0, None, "at least 2 clients, here are 0"),
        (4, 5, "secure_aggregation_threshold=5: is not from 1 to 4"),
        (10, 0, "secure_aggregation_threshold=0: is not from 1 to 10"),
    ],
)
def test_thresholds_out_of_range(clients, threshold, message):
    with pytest.raises(errors.UserError, match=message) as caught:
        session.new(range(clients), VECTORS, threshold)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("clients", "vector", "message"),
    [
        ((1, 1, 2), session.Vector(1, 2), "not repeat"),
        ((-1, 1, 2), session.Vector(1, 2), "client ids must be from 0"),
        ((1, 2, 2**63), session.Vector(1, 2), "client ids must be from 0"),
        ((1, 2, 3), session.Vector(1, 1), "modulus 1 is not"),
        ((1, 2, 3), session.Vector(1, 2**62 + 1), "is not from 2 to 2"),
        ((1, 2, 3), session.Vector(-1, 2), "length is negative"),
    ],
)
def test_ranges(clients, vector, message):
    with pytest.raises(errors.UserError, match=message):
        session.new(clients, [vector])


def test_a_session_is_the_same_from_its_bytes():
    made = session.new([5, 2, 2**63 - 1], VECTORS)
    assert made.clients == (2, 5, 2**63 - 1)
    read = session.decode(made.encode())
    assert read == made
    assert read.id == made.id


def test_each_parameter_is_in_the_id():
    made = session.new(range(6), VECTORS, 4)
    changed = [
        dataclasses.replace(made, nonce=bytes(16)),
        dataclasses.replace(made, threshold=5),
        dataclasses.replace(made, clients=(0, 1, 2, 3, 4, 6)),
        dataclasses.replace(made, vectors=VECTORS[:1]),
        dataclasses.replace(made, vectors=(session.Vector(4, 2**21), VECTORS[1])),
        session.new(range(6), VECTORS, 4),
    ]
    assert len({s.id for s in [made, *changed]}) == 7


def test_every_cut_is_refused():
    data = session.new(range(3), VECTORS).encode()
    for end in range(len(data)):
        with pytest.raises(refusals.MessageRejectedError, match="too short"):
            session.decode(data[:end])
    with pytest.raises(refusals.MessageRejectedError, match="too long"):
        session.decode(data + b"\0")


@pytest.mark.parametrize("clients", [2, 7])
def test_the_size_of_the_bytes(clients):
    assert len(session.new(range(clients), VECTORS).encode()) == session.encoded_bytes(clients, 2)


def test_a_round_is_of_one_session_and_one_roster():
    ids = {session.round_id(s * 32, r) for s in (b"s", b"t") for r in (b"", b"a", b"ab")}
    assert len(ids) == 6


@pytest.mark.parametrize(("bits", "modulus"), [(1, 2), (2, 3), (2, 4), (20, 2**20), (62, 2**62)])
def test_bits(bits, modulus):
    assert session.Vector(1, modulus).bits == bits
