"""The conditions of a client, and that it checks sizes before it allocates memory."""

import dataclasses
import tracemalloc

import pytest

from tests.aggregation.secure_aggregation.network import Network
from tff_nlp import errors
from tff_nlp.aggregation.secure_aggregation import demands, envelope, refusals, session, wire
from tff_nlp.aggregation.secure_aggregation.envelope import Kind

ONE = (session.Vector(1, 2),)


def check(demanded, clients=10, threshold=None, vectors=ONE):
    demanded.check(session.new(range(clients), vectors, threshold))


@pytest.mark.parametrize(
    ("clients", "colluders", "honest"), [(5, 1, 3), (10, 3, 4), (21, 6, 8), (100, 33, 34)]
)
def test_the_defaults_withstand_fewer_than_a_third(clients, colluders, honest):
    assert demands.DEFAULT.colluders_among(clients) == colluders
    least = demands.DEFAULT.least_threshold(clients)
    assert 2 * least > clients + colluders >= 2 * (least - 1)
    assert least - colluders == honest
    check(demands.DEFAULT, clients)
    check(demands.DEFAULT, clients, clients)
    with pytest.raises(errors.UserError, match=f"={least - 1}: must be at least {least} of"):
        check(demands.DEFAULT, clients, least - 1)


@pytest.mark.parametrize("clients", [2, 3, 4])
def test_small_cohorts_are_refused(clients):
    with pytest.raises(errors.UserError, match=f"demands 5 to 16384 .* here are {clients}"):
        check(demands.DEFAULT, clients, clients)
    check(demands.Demands(fewest_clients=clients), clients, clients)


@pytest.mark.parametrize(("colluders", "least"), [(0, 6), (1, 6), (2, 7), (5, 8), (7, 9), (8, 10)])
def test_colluders_that_are_counted_on(colluders, least):
    demanded = demands.Demands(colluders=colluders)
    check(demanded, 10, least)
    with pytest.raises(errors.UserError, match=f"at least {least} of 10 .* with {colluders} of"):
        check(demanded, 10, least - 1)
    assert least - colluders >= 2


@pytest.mark.parametrize("colluders", [9, 10, 100])
def test_no_threshold_hides_a_client_among_colluders(colluders):
    with pytest.raises(errors.UserError, match=f"colluders={colluders}: leaves a client alone"):
        check(demands.Demands(colluders=colluders), 10, 10)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colluders": -1}, "secure_aggregation_colluders=-1: must be 0 or more"),
        ({"fewest_clients": 1}, "fewest_clients=1: must be 2 or more"),
    ],
)
def test_demands_that_make_no_sense(changes, message):
    with pytest.raises(errors.UserError, match=message):
        demands.Demands(**changes)


BOUNDED = demands.Demands(most_clients=8, most_vectors=2, most_entries=100)


@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        ({"vectors": (session.Vector(101, 2),)}, "Aborted", "101 integers are longer"),
        ({"vectors": (session.Vector(2**63, 2),)}, "Aborted", "longer than the 100"),
        ({"vectors": (session.Vector(60, 2),) * 2}, "Aborted", "120 integers are longer"),
        # Lists that are too long for an acceptable invitation are not even read.
        ({"vectors": (session.Vector(1, 2),) * 30}, "Rejected", "bytes is not INVITATION"),
        ({"clients": tuple(range(2**16))}, "Rejected", "bytes is not INVITATION"),
        ({"clients": tuple(range(9)), "vectors": ()}, "Aborted", "demands 5 to 8 clients"),
        ({"clients": (0, 1, 2, 3), "threshold": 4}, "Aborted", "demands 5"),
        ({"vectors": (session.Vector(1, 2),) * 3, "clients": (0, 1, 2, 3, 4)}, "Aborted", "3 vec"),
    ],
)
def test_sizes_are_looked_at_before_anything_is_allocated(changes, error, reason):
    network = Network(6, vectors=ONE, demanded=BOUNDED)
    lied = dataclasses.replace(network.session, **{"threshold": 5, **changes})
    network.invitation = envelope.seal(
        network.server_identity,
        Kind.INVITATION,
        lied.id,
        envelope.SERVER,
        envelope.EVERYONE,
        lied.encode(),
    )
    tracemalloc.start()
    with pytest.raises(errors.RunError) as caught:
        network.join(0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert error in type(caught.value).__name__
    assert reason in str(caught.value)
    assert peak < 2**16


def test_a_number_of_clients_that_is_not_there():
    """The count at the front of a list is compared with the bytes that follow."""
    payload = bytes(session.NONCE_BYTES) + wire.u32(5) + wire.u32(2**32 - 1) + bytes(80)
    with pytest.raises(refusals.MessageRejectedError, match="too short"):
        session.decode(payload)
