"""The parameters of a round: thresholds, ranges, and one id for all of them."""

import dataclasses

import pytest

from tff_nlp import errors
from tff_nlp.aggregation.secure_aggregation import refusals, session

VECTORS = (session.Vector(4, 2**20), session.Vector(0, 3))


@pytest.mark.parametrize(
    ("clients", "threshold"), [(2, 2), (3, 3), (4, 3), (10, 7), (99, 67), (100, 67)]
)
def test_the_default_threshold_is_above_two_thirds(clients, threshold):
    assert session.default_threshold(clients) == threshold
    assert session.new(range(clients), VECTORS).threshold == threshold
    # The most colluding clients for which the paper's 2t > n + colluders holds: under a third.
    colluders = 2 * threshold - clients - 1
    assert colluders >= -(-clients // 3) - 1


@pytest.mark.parametrize(
    ("clients", "threshold", "message"),
    [
        (1, None, "at least 2 clients, here are 1"),
        (0, None, "at least 2 clients, here are 0"),
        (4, 5, "=5: more than the 4 clients"),
        (10, 5, "=5: must be above half of the 10"),
        (10, 0, "=0: must be above half of the 10"),
    ],
)
def test_thresholds_that_do_not_do(clients, threshold, message):
    with pytest.raises(errors.UserError, match=message) as caught:
        session.new(range(clients), VECTORS, threshold)
    assert str(caught.value).startswith("--secure_aggregation_threshold")
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
        with pytest.raises(refusals.MessageRejectedError, match="shorter"):
            session.decode(data[:end])
    with pytest.raises(refusals.MessageRejectedError, match="longer"):
        session.decode(data + b"\0")


@pytest.mark.parametrize(("bits", "modulus"), [(1, 2), (2, 3), (2, 4), (20, 2**20), (62, 2**62)])
def test_bits(bits, modulus):
    assert session.Vector(1, modulus).bits == bits
