"""The envelope of a message: header and signature."""

import pytest

from tff_nlp.aggregation.secure_aggregation import envelope, identities, refusals
from tff_nlp.aggregation.secure_aggregation.envelope import Kind

SESSION = b"s" * 32
LARGEST = 10


@pytest.fixture(scope="module")
def parties():
    return identities.enrol([0, 1])


def seal(parties, kind=Kind.SHARED_KEYS, session_id=SESSION, sender=0, receiver=envelope.SERVER):
    server, members, _ = parties
    identity = members.get(sender, server)
    return envelope.seal(identity, kind, session_id, sender, receiver, b"payload")


def unseal(parties, message, kind=Kind.SHARED_KEYS, receiver=envelope.SERVER):
    return envelope.unseal(message, parties[2], kind, SESSION, receiver, LARGEST)


def test_a_message_arrives(parties):
    sender, payload = unseal(parties, seal(parties))
    assert (sender, bytes(payload)) == (0, b"payload")
    message = seal(parties, Kind.ROSTER, sender=envelope.SERVER, receiver=1)
    assert unseal(parties, message, Kind.ROSTER, 1)[0] == envelope.SERVER
    assert len(message) == envelope.BYTES + len(b"payload")


def test_each_changed_bit_is_noticed(parties):
    message = seal(parties)
    for place in range(8 * len(message)):
        changed = bytearray(message)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(refusals.MessageRejectedError):
            unseal(parties, bytes(changed))


def test_each_cut_and_each_addition_is_noticed(parties):
    message = seal(parties)
    for end in range(len(message)):
        with pytest.raises(refusals.MessageRejectedError):
            unseal(parties, message[:end])
    with pytest.raises(refusals.MessageRejectedError):
        unseal(parties, message + b"\0")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"session_id": b"t" * 32}, "another session"),
        ({"kind": Kind.MASKED_INPUT}, "is not SHARED_KEYS"),
        ({"receiver": 1}, "for client 1 came to the server"),
        ({"receiver": envelope.EVERYONE}, "for all clients came to the server"),
        ({"sender": 7}, "does not come from client 7"),
        ({"sender": envelope.SERVER}, "does not come from the server"),
    ],
)
def test_another_header_is_refused_though_signed(parties, changes, reason):
    with pytest.raises(refusals.MessageRejectedError, match=reason):
        unseal(parties, seal(parties, **changes))


def test_a_client_cannot_sign_for_another_or_for_the_server(parties):
    _, members, _ = parties
    forged = envelope.seal(members[1], Kind.SHARED_KEYS, SESSION, 0, envelope.SERVER, b"x")
    with pytest.raises(refusals.MessageRejectedError, match="not that of client 0"):
        unseal(parties, forged)
    for sender in (1, envelope.SERVER):
        forged = envelope.seal(members[1], Kind.ROSTER, SESSION, sender, 0, b"x")
        with pytest.raises(refusals.MessageRejectedError, match="does not come|not that of"):
            unseal(parties, forged, Kind.ROSTER, 0)


def test_the_server_cannot_sign_for_a_client(parties):
    server, _, _ = parties
    for kind, receiver in ((Kind.ROSTER, 0), (Kind.SHARED_KEYS, envelope.SERVER)):
        forged = envelope.seal(server, kind, SESSION, 1, receiver, b"x")
        with pytest.raises(refusals.MessageRejectedError, match="client 1"):
            unseal(parties, forged, kind, receiver)


def test_a_longer_message_is_refused_before_its_signature_is_looked_at(parties, monkeypatch):
    looked = []
    monkeypatch.setattr(identities, "verifies", lambda *_: looked.append(1) or True)
    message = seal(parties)
    unseal(parties, message + bytes(LARGEST - len(b"payload")))
    assert looked == [1]
    with pytest.raises(refusals.MessageRejectedError, match="of 129 bytes is not SHARED_KEYS"):
        unseal(parties, message + bytes(LARGEST + 1 - len(b"payload")))
    assert looked == [1]


def test_a_message_of_which_only_the_signature_was_handed_on(parties):
    message = seal(parties)
    parts = (Kind.SHARED_KEYS, SESSION, 0, envelope.SERVER)
    signature = envelope.signature_of(message)
    assert envelope.with_signature(*parts, b"payload", signature) == message
    with pytest.raises(refusals.MessageRejectedError, match="not that of client 0"):
        unseal(parties, envelope.with_signature(*parts, b"payloads", signature))


def test_another_version_is_refused(parties, monkeypatch):
    message = seal(parties)
    monkeypatch.setattr(envelope, "VERSION", 3)
    with pytest.raises(refusals.MessageRejectedError, match="not of version 3"):
        unseal(parties, message)
