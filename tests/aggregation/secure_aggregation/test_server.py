"""Messages that the server rejects, and when it gives up."""

import pytest

from tests.aggregation.secure_aggregation.network import Network, payload_of, plain_sums
from tff_nlp import errors
from tff_nlp.aggregation.secure_aggregation import (
    envelope,
    identities,
    messages,
    refusals,
    sharing,
    simulation,
)
from tff_nlp.aggregation.secure_aggregation.envelope import Kind
from tff_nlp.aggregation.secure_aggregation.server import Server
from tff_nlp.aggregation.secure_aggregation.steps import Step

ABORTED, REJECTED = refusals.SecureAggregationAborted, refusals.MessageRejectedError


def answers(network, step, inputs):
    """Runs the earlier steps and returns each client's message of a step."""
    if step > Step.ADVERTISE_KEYS:
        network.advertise()
    if step > Step.SHARE_KEYS:
        network.share()
    if step > Step.MASKED_INPUT:
        network.mask(inputs)
    if step > Step.CONSISTENCY_CHECK:
        network.check()
    make = {
        Step.ADVERTISE_KEYS: lambda half: half.advertise_keys(),
        Step.SHARE_KEYS: lambda half: half.share_keys(network.roster),
        Step.MASKED_INPUT: lambda h: h.masked_input(network.forwarded[h.id], inputs[h.id]),
        Step.CONSISTENCY_CHECK: lambda half: half.check_consistency(network.announcement),
        Step.UNMASK: lambda half: half.unmask(network.signatures),
    }[step]
    return {c: make(half) for c, half in network.clients.items()}


def add(network, step, message):
    server = network.server
    {
        Step.ADVERTISE_KEYS: server.add_advertised_keys,
        Step.SHARE_KEYS: server.add_shared_keys,
        Step.MASKED_INPUT: server.add_masked_input,
        Step.CONSISTENCY_CHECK: server.add_consistency_signature,
        Step.UNMASK: server.add_unmask_shares,
    }[step](message)


def close(network, step):
    server = network.server
    if step == Step.ADVERTISE_KEYS:
        network.listed, network.roster = set(network.ids), server.roster()
    elif step == Step.SHARE_KEYS:
        network.forwarded = dict(server.forwarded_shares())
    elif step == Step.MASKED_INPUT:
        network.announcement = server.announcement()
    elif step == Step.CONSISTENCY_CHECK:
        network.signing, network.signatures = set(network.ids), server.signatures()


@pytest.mark.parametrize("step", simulation.STEPS)
def test_wrong_messages_are_rejected_and_the_sum_stays_right(step):
    network, other = Network(4, threshold=3), Network(4, threshold=3)
    inputs = network.random_inputs()
    good, foreign = answers(network, step, inputs), answers(other, step, inputs)
    flipped = bytearray(good[0])
    flipped[len(flipped) // 2] ^= 0x10
    unsigned = good[0][: -identities.SIGNATURE_BYTES] + bytes(identities.SIGNATURE_BYTES)
    for wrong in (bytes(flipped), unsigned, good[0][:-1], good[0] + b"\0", b"", foreign[0]):
        with pytest.raises(REJECTED):
            add(network, step, wrong)
    add(network, step, good[0])
    with pytest.raises(REJECTED, match="a second"):
        add(network, step, good[0])
    for client in (1, 2, 3):
        add(network, step, good[client])
    close(network, step)
    if step < Step.SHARE_KEYS:
        network.share()
    if step < Step.MASKED_INPUT:
        network.mask(inputs)
    if step < Step.CONSISTENCY_CHECK:
        network.check()
    sums = network.server.sums() if step == Step.UNMASK else network.unmask()
    assert [s.tolist() for s in sums] == plain_sums(inputs, network.ids, network.session.vectors)


def test_messages_of_other_steps_are_rejected():
    network = Network(3)
    inputs = network.random_inputs()
    early = answers(network, Step.ADVERTISE_KEYS, inputs)
    for step in simulation.STEPS[1:]:
        with pytest.raises(REJECTED, match=f"the server expects ADVERTISE_KEYS, not {step.name}"):
            add(network, step, early[0])
    with pytest.raises(REJECTED, match="the server expects ADVERTISE_KEYS"):
        network.server.announcement()
    for message in early.values():
        add(network, Step.ADVERTISE_KEYS, message)
    close(network, Step.ADVERTISE_KEYS)
    # A message of an earlier step in place of the expected one.
    with pytest.raises(REJECTED, match="another session or roster"):
        add(network, Step.SHARE_KEYS, early[0])
    with pytest.raises(REJECTED, match="not ADVERTISE_KEYS"):
        add(network, Step.ADVERTISE_KEYS, early[0])


def from_client(network, client, kind, payload):
    return envelope.seal(
        network.members[client], kind, network.id, client, envelope.SERVER, payload
    )


def test_late_inputs_are_rejected_and_their_owners_count_as_vanished():
    network = Network(4, threshold=3)
    inputs = network.random_inputs()
    network.advertise()
    network.share()
    late = network.clients[3].masked_input(network.forwarded[3], inputs[3])
    network.mask(inputs, without=[3])
    with pytest.raises(REJECTED, match="not MASKED_INPUT"):
        network.server.add_masked_input(late)
    network.check()
    sums = network.unmask()
    assert [s.tolist() for s in sums] == plain_sums(inputs, [0, 1, 2], network.session.vectors)


def test_keys_that_are_not_new_or_not_usable():
    network = Network(4)
    network.server.add_advertised_keys(network.clients[0].advertise_keys())
    taken = network.clients[0]._peers[0]
    low = bytes(32)
    for keys, reason in [
        (messages.AdvertisedKeys(taken.share_key, b"\2" * 32), "twice"),
        (messages.AdvertisedKeys(b"\2" * 32, taken.share_key), "twice"),
        (messages.AdvertisedKeys(b"\2" * 32, b"\2" * 32), "twice"),
        (messages.AdvertisedKeys(low, b"\2" * 32), "low order"),
        (messages.AdvertisedKeys(b"\2" * 32, low), "low order"),
    ]:
        message = from_client(network, 1, Kind.ADVERTISED_KEYS, keys.encode())
        with pytest.raises(REJECTED, match=reason):
            network.server.add_advertised_keys(message)
    network.server.add_advertised_keys(network.clients[1].advertise_keys())


def test_clients_that_are_not_invited_or_left_earlier():
    network = Network(5, threshold=3)
    outsider = Server(network.session, network.server_identity, network.directory)
    outsider._invited = frozenset({0, 1, 2})
    with pytest.raises(REJECTED, match="client 4 is not invited"):
        outsider.add_advertised_keys(network.join(4).advertise_keys())

    inputs = network.random_inputs()
    network.advertise(without=[4])
    shares = network.clients[0].share_keys(network.roster)
    payload = bytes(payload_of(shares))
    with pytest.raises(REJECTED, match="client 4 did not send exactly one share for each"):
        network.server.add_shared_keys(from_client(network, 4, Kind.SHARED_KEYS, payload))
    network.server.add_shared_keys(shares)
    for c in (1, 2):
        network.server.add_shared_keys(network.clients[c].share_keys(network.roster))
    network.forwarded = dict(network.server.forwarded_shares())
    masked = {c: network.clients[c].masked_input(network.forwarded[c], inputs[c]) for c in range(3)}
    forged = from_client(network, 3, Kind.MASKED_INPUT, bytes(payload_of(masked[0])))
    with pytest.raises(REJECTED, match="client 3 did not share its keys"):
        network.server.add_masked_input(forged)
    for message in masked.values():
        network.server.add_masked_input(message)
    announcement = network.server.announcement()
    signed = {c: network.clients[c].check_consistency(announcement) for c in range(3)}
    forged = from_client(network, 3, Kind.CONSISTENCY_SIGNATURE, bytes(payload_of(signed[0])))
    with pytest.raises(REJECTED, match="client 3 sent no masked input"):
        network.server.add_consistency_signature(forged)
    for message in signed.values():
        network.server.add_consistency_signature(message)
    signatures = network.server.signatures()
    answer = bytes(payload_of(network.clients[0].unmask(signatures)))
    with pytest.raises(REJECTED, match="client 3 did not sign the survivors"):
        network.server.add_unmask_shares(from_client(network, 3, Kind.UNMASK_SHARES, answer))


def test_a_signature_under_other_sets():
    network = Network(4, threshold=3)
    network.advertise()
    network.share()
    network.mask(network.random_inputs(), without=[3])
    other = messages.Survivors((0, 1, 3), (2,)).digest
    message = from_client(network, 0, Kind.CONSISTENCY_SIGNATURE, other)
    with pytest.raises(REJECTED, match="client 0 signed other sets"):
        network.server.add_consistency_signature(message)
    assert network.check()


def test_shares_for_other_clients_than_asked():
    network = Network(5, threshold=3)
    network.advertise(without=[4])
    network.share()
    network.mask(network.random_inputs(), without=[3])
    network.check()
    right = messages.UnmaskShares({0: 1, 1: 1, 2: 1}, {3: 1})
    for wrong in (
        messages.UnmaskShares({0: 1, 1: 1}, {3: 1}),
        messages.UnmaskShares({0: 1, 1: 1, 2: 1}, {}),
        messages.UnmaskShares({0: 1, 1: 1, 2: 1, 3: 1}, {3: 1}),
    ):
        message = from_client(network, 0, Kind.UNMASK_SHARES, wrong.encode())
        with pytest.raises(REJECTED, match="other clients than those that were announced"):
            network.server.add_unmask_shares(message)
    network.server.add_unmask_shares(from_client(network, 0, Kind.UNMASK_SHARES, right.encode()))


@pytest.mark.parametrize("kind", ["self_seeds", "mask_keys"])
def test_a_client_that_lies_about_a_share_is_noticed(kind):
    network = Network(4, threshold=3)
    network.advertise()
    network.share()
    network.mask(network.random_inputs(), without=[3])
    network.check()
    for c in range(3):
        message = network.clients[c].unmask(network.signatures)
        if c == 1:
            shares = messages.decode_unmask_shares(payload_of(message))
            wrong = getattr(shares, kind)
            wrong[max(wrong)] = (wrong[max(wrong)] + 1) % sharing.PRIME
            message = from_client(network, 1, Kind.UNMASK_SHARES, shares.encode())
        network.server.add_unmask_shares(message)
    with pytest.raises(ABORTED, match=f"client {2 if kind == 'self_seeds' else 3}'s secret"):
        network.server.sums()
    assert network.server._totals == []


@pytest.mark.parametrize("step", simulation.STEPS)
def test_below_the_threshold_the_round_aborts_and_nothing_stays(step):
    network = Network(5, threshold=4)
    inputs = network.random_inputs()
    good = answers(network, step, inputs)
    for client in range(3):
        add(network, step, good[client])
    with pytest.raises(ABORTED, match="3 clients .*the threshold is 4; nothing is revealed"):
        if step == Step.UNMASK:
            network.server.sums()
        else:
            close(network, step)
    server = network.server
    assert server.due == Step.ABORTED
    assert (server._totals, server._answers, server._sealed) == ([], {}, {})
    assert issubclass(ABORTED, errors.RunError)
    # A late client does not restart the round.
    with pytest.raises(ABORTED, match="has given up"):
        add(network, step, good[3])
    with pytest.raises(ABORTED, match="has given up"):
        server.sums()
