"""Messages that a client refuses, although the right party signed them."""

import concurrent.futures
import dataclasses
import threading

import numpy as np
import pytest

from tests.aggregation.secure_aggregation.network import LENIENT, Network, payload_of
from tff_nlp.aggregation.secure_aggregation import envelope, identities, messages, refusals, session
from tff_nlp.aggregation.secure_aggregation.client import Client
from tff_nlp.aggregation.secure_aggregation.envelope import Kind
from tff_nlp.aggregation.secure_aggregation.server import Server
from tff_nlp.aggregation.secure_aggregation.steps import Step

ABORTED, REJECTED = refusals.SecureAggregationAborted, refusals.MessageRejectedError


@pytest.fixture
def network():
    return Network(5, threshold=4)


def from_server(network, kind, payload, receiver=envelope.EVERYONE):
    """Returns a message that the server signs, as a server that breaks the protocol could do."""
    return envelope.seal(
        network.server_identity, kind, network.id, envelope.SERVER, receiver, payload
    )


def invite(network, changed, session_id=None):
    return envelope.seal(
        network.server_identity,
        Kind.INVITATION,
        session_id or changed.id,
        envelope.SERVER,
        envelope.EVERYONE,
        changed.encode(),
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"threshold": 2}, "refuses the session: .*=2: must be at least 3 of 5"),
        ({"threshold": 6}, "is not from 1 to 5"),
        ({"clients": (1, 2, 3, 4)}, "client 0 is not invited"),
        ({"clients": (0,), "threshold": 1}, "at least 2 clients"),
        ({"vectors": (session.Vector(1, 1),)}, "modulus 1"),
    ],
)
def test_invitations_that_are_not_private(network, changes, reason):
    network.invitation = invite(network, dataclasses.replace(network.session, **changes))
    with pytest.raises(ABORTED, match=reason):
        network.join(0)


def test_an_invitation_that_is_not_the_servers(network):
    with pytest.raises(REJECTED, match="signature"):
        Client(network.invitation, 0, network.members[0], identities.enrol([0])[2], LENIENT)
    other = dataclasses.replace(network.session, threshold=5)
    network.invitation = invite(network, other, network.session.id)
    with pytest.raises(REJECTED, match="session id"):
        network.join(0)


def roster_of(network, entries):
    return from_server(network, Kind.ROSTER, messages.encode_roster(entries))


@pytest.fixture
def advertised(network):
    """The clients' first messages, by client."""
    return {c: network.clients[c].advertise_keys() for c in network.ids}


def refuses_roster(network, entries, reason):
    client = network.clients[0]
    with pytest.raises(ABORTED, match=reason):
        client.share_keys(roster_of(network, entries))
    assert client.due == Step.ABORTED
    with pytest.raises(ABORTED, match="has given up"):
        client.share_keys(roster_of(network, entries))


def test_a_roster_below_the_threshold(network, advertised):
    refuses_roster(network, {c: advertised[c] for c in (0, 1, 2)}, "3 clients advertised")


def test_a_roster_without_the_client(network, advertised):
    refuses_roster(network, {c: advertised[c] for c in (1, 2, 3, 4)}, "its own keys")


def test_a_roster_with_other_keys_for_the_client(network, advertised):
    advertised[0] = network.join(0).advertise_keys()
    refuses_roster(network, advertised, "its own keys")


def test_a_roster_with_a_peer_twice(network, advertised):
    refuses_roster(network, {**advertised, 1: advertised[2]}, "client 2 appears twice")


def test_a_roster_with_a_key_of_two_peers(network, advertised):
    copied = bytes(payload_of(advertised[2]))
    advertised[1] = envelope.seal(
        network.members[1],
        Kind.ADVERTISED_KEYS,
        network.session.id,
        1,
        envelope.SERVER,
        copied,
    )
    refuses_roster(network, advertised, "keys are the same")


def test_a_roster_with_keys_that_the_server_made_up(network, advertised):
    lying = identities.Identity()
    payload = network.clients[1]._peers[1].encode()
    advertised[1] = envelope.seal(
        lying, Kind.ADVERTISED_KEYS, network.session.id, 1, envelope.SERVER, payload
    )
    refuses_roster(network, advertised, "no peer signed: the signature")


def test_a_roster_with_keys_of_an_earlier_session(network, advertised):
    earlier = Network(5, threshold=4)
    earlier.members, earlier.directory = network.members, network.directory
    earlier.server_identity = network.server_identity
    earlier.invitation = invite(network, earlier.session)
    advertised[3] = earlier.join(3).advertise_keys()
    refuses_roster(network, advertised, "no peer signed: .*another session")


def test_a_roster_with_a_client_that_is_not_invited():
    network = Network(6, threshold=4)
    fewer = dataclasses.replace(network.session, clients=(0, 1, 2, 3, 4))
    network.server = Server(fewer, network.server_identity, network.directory)
    network.invitation = network.server.invitation()
    advertised = {}
    for c in fewer.clients:
        network.clients[c] = network.join(c)
        advertised[c] = network.clients[c].advertise_keys()
    payload = network.clients[1]._peers[1].encode()
    advertised[5] = envelope.seal(
        network.members[5], Kind.ADVERTISED_KEYS, fewer.id, 5, envelope.SERVER, payload
    )
    del advertised[4]
    refuses_roster(network, advertised, "client 5 appears twice .* or is not invited")


def test_a_peers_key_of_low_order(network, advertised):
    advertised[1] = envelope.seal(
        network.members[1],
        Kind.ADVERTISED_KEYS,
        network.session.id,
        1,
        envelope.SERVER,
        bytes(32) + b"\2" * 32,
    )
    refuses_roster(network, advertised, "the public key of client 1 is unusable")


def shares_for(network, receiver):
    """Returns the shares that are forwarded to a client, as a dictionary that a test can change."""
    return messages.decode_sealed(payload_of(network.forwarded[receiver]))


def refuses_shares(network, sealed, reason):
    client = network.clients[0]
    message = from_server(network, Kind.FORWARDED_SHARES, messages.encode_sealed(sealed), 0)
    with pytest.raises(ABORTED, match=reason):
        client.masked_input(message, network.random_inputs()[0])
    assert client.due == Step.ABORTED


@pytest.fixture
def shared(network):
    network.advertise(without=[4])
    network.share()
    return network


def test_shares_from_too_few(shared):
    sealed = shares_for(shared, 0)
    del sealed[1]
    refuses_shares(shared, sealed, "3 clients shared keys, the threshold is 4")


def test_shares_that_were_changed(shared):
    sealed = shares_for(shared, 0)
    sealed[2] = sealed[2][:-1] + bytes([sealed[2][-1] ^ 1])
    refuses_shares(shared, sealed, "shares of client 2 do not decrypt")


def test_shares_that_were_swapped(shared):
    sealed = shares_for(shared, 0)
    sealed[1], sealed[2] = sealed[2], sealed[1]
    refuses_shares(shared, sealed, "shares of client 1 do not decrypt")


def test_shares_that_were_for_another(shared):
    sealed = shares_for(shared, 0)
    sealed[2] = shares_for(shared, 1)[2]
    refuses_shares(shared, sealed, "shares of client 2 do not decrypt")


@pytest.mark.parametrize("stranger", [0, 4, 77])
def test_shares_from_a_client_without_keys(shared, stranger):
    sealed = shares_for(shared, 0)
    sealed[stranger] = sealed[1]
    refuses_shares(shared, sealed, "advertised no keys")


def test_one_input_only(shared):
    client, inputs = shared.clients[0], shared.random_inputs()[0]
    client.masked_input(shared.forwarded[0], inputs)
    with pytest.raises(REJECTED, match="not MASKED_INPUT"):
        client.masked_input(shared.forwarded[0], inputs)


def test_inputs_of_another_size_or_type_leave_the_client_ready(shared):
    client, inputs = shared.clients[0], shared.random_inputs()[0]
    with pytest.raises(ValueError, match="entries, not"):
        client.masked_input(shared.forwarded[0], inputs[:2])
    with pytest.raises(TypeError, match="integers"):
        client.masked_input(shared.forwarded[0], [v.astype(np.float64) for v in inputs])
    assert client.masked_input(shared.forwarded[0], inputs)


@pytest.fixture
def masked():
    """A session of 7 clients. Client 6 sent no keys; client 5 dropped out before its input."""
    network = Network(7, threshold=4)
    network.advertise(without=[6])
    network.share()
    network.mask(network.random_inputs(), without=[5])
    return network


def announcement_of(network, survivors, dropped):
    payload = messages.Survivors(tuple(survivors), tuple(dropped)).encode()
    return from_server(network, Kind.SURVIVORS, payload)


@pytest.mark.parametrize(
    ("survivors", "dropped", "reason"),
    [
        ((0, 1, 2, 3, 4), (4, 5), "names client 4 as survivor and as dropped"),
        ((0, 1, 2, 3, 4), (0, 5), "names client 0 as survivor and as dropped"),
        ((0, 1, 2, 3, 4), (), "other clients than those that shared"),
        ((0, 1, 2, 3, 4), (5, 6), "other clients than those that shared"),
        ((1, 2, 3, 4, 5), (0,), "no input of this client"),
        ((0, 1, 2), (3, 4, 5), "3 clients sent masked inputs, the threshold is 4"),
    ],
)
def test_sets_of_survivors_that_would_unmask_a_client(masked, survivors, dropped, reason):
    client = masked.clients[0]
    with pytest.raises(ABORTED, match=reason):
        client.check_consistency(announcement_of(masked, survivors, dropped))
    # The client has deleted its shares, so it does not even sign the right sets now.
    with pytest.raises(ABORTED, match="has given up"):
        client.check_consistency(masked.announcement)
    assert client._secrets is None


def test_one_signature_only(masked):
    client = masked.clients[0]
    client.check_consistency(masked.announcement)
    for again in (masked.announcement, announcement_of(masked, (0, 1, 2, 3, 5), (4,))):
        with pytest.raises(REJECTED, match="not CONSISTENCY_CHECK"):
            client.check_consistency(again)


@pytest.fixture
def signed(masked):
    """The same session, after its clients have signed the sets of survivors."""
    masked.check()
    return masked


def signatures_of(network):
    """Returns the forwarded signatures, as a dictionary that a test can change."""
    return messages.decode_signatures(payload_of(network.signatures))


def refuses_signatures(network, signatures, reason):
    client = network.clients[0]
    payload = messages.encode_signatures(signatures)
    with pytest.raises(ABORTED, match=reason):
        client.unmask(from_server(network, Kind.CONSISTENCY_SIGNATURES, payload))
    with pytest.raises(ABORTED, match="has given up"):
        client.unmask(network.signatures)
    assert client._secrets is None


def test_signatures_of_too_few(signed):
    signatures = signatures_of(signed)
    del signatures[3], signatures[4]
    refuses_signatures(signed, signatures, "3 clients signed the same sets .* threshold is 4")


def test_signatures_under_other_sets(signed):
    signatures = signatures_of(signed)
    other = messages.Survivors((0, 1, 2, 4, 5), (3,)).digest
    message = envelope.seal(
        signed.members[2], Kind.CONSISTENCY_SIGNATURE, signed.id, 2, envelope.SERVER, other
    )
    signatures[2] = envelope.signature_of(message)
    refuses_signatures(signed, signatures, "client 2 did not sign the sets of survivors")


def test_signatures_of_one_client_in_the_place_of_another(signed):
    signatures = signatures_of(signed)
    signatures[2] = signatures[1]
    refuses_signatures(signed, signatures, "client 2 did not sign the sets of survivors")


def test_signatures_of_a_client_that_vanished(signed):
    digest = signed.server._announced.digest
    message = envelope.seal(
        signed.members[5], Kind.CONSISTENCY_SIGNATURE, signed.id, 5, envelope.SERVER, digest
    )
    signatures = {**signatures_of(signed), 5: envelope.signature_of(message)}
    refuses_signatures(signed, signatures, "not a survivor signed")


def test_one_answer_only(signed):
    client = signed.clients[0]
    client.unmask(signed.signatures)
    with pytest.raises(REJECTED, match="not UNMASK"):
        client.unmask(signed.signatures)
    assert client._secrets is None


def test_two_calls_at_once_answer_once(shared):
    """Two inputs under the same masks would reveal their difference."""
    client, inputs = shared.clients[0], shared.random_inputs()[0]
    barrier = threading.Barrier(8)

    def call(_):
        barrier.wait()
        try:
            return client.masked_input(shared.forwarded[0], inputs)
        except REJECTED:
            return None

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(call, range(8)))
    assert len([a for a in answers if a is not None]) == 1


def test_steps_come_in_order(network):
    client = network.clients[0]
    assert client.due == Step.ADVERTISE_KEYS
    with pytest.raises(REJECTED, match="client 0 expects ADVERTISE_KEYS, not SHARE_KEYS"):
        client.share_keys(b"")
    with pytest.raises(REJECTED, match="not CONSISTENCY_CHECK"):
        client.check_consistency(b"")
    with pytest.raises(REJECTED, match="not UNMASK"):
        client.unmask(b"")
    client.advertise_keys()
    with pytest.raises(REJECTED, match="not ADVERTISE_KEYS"):
        client.advertise_keys()
    with pytest.raises(REJECTED, match="not MASKED_INPUT"):
        client.masked_input(b"", [])


def test_a_rejected_message_changes_nothing():
    network, other = Network(5, threshold=4), Network(5, threshold=4)
    inputs = network.random_inputs()
    for n in (network, other):
        n.advertise()
    client = network.clients[0]
    changed = network.roster[:60] + bytes([network.roster[60] ^ 4]) + network.roster[61:]
    for wrong in (b"", changed, other.roster, network.invitation, network.roster[:-1]):
        with pytest.raises(REJECTED):
            client.share_keys(wrong)
    for n in (network, other):
        n.share()
    for wrong in (b"", network.forwarded[1], other.forwarded[0], network.roster):
        with pytest.raises(REJECTED):
            client.masked_input(wrong, inputs[0])
    for n in (network, other):
        n.mask(inputs)
    for wrong in (b"", network.announcement[:-1], other.announcement, network.forwarded[0]):
        with pytest.raises(REJECTED):
            client.check_consistency(wrong)
    for n in (network, other):
        n.check()
    for wrong in (b"", network.signatures[:-1], other.signatures, network.announcement):
        with pytest.raises(REJECTED):
            client.unmask(wrong)
    assert network.unmask()
    assert client.due == Step.FINISHED
