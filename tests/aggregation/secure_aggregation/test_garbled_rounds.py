"""Rounds with dropouts and changed messages end with the right sum or with one clear error."""

import collections

import pytest

from tests.aggregation.secure_aggregation.network import Network, payload_of, plain_sums
from tff_nlp import seeds
from tff_nlp.aggregation.secure_aggregation import (
    demands,
    envelope,
    messages,
    refusals,
)
from tff_nlp.aggregation.secure_aggregation.client import Client
from tff_nlp.aggregation.secure_aggregation.envelope import Kind
from tff_nlp.aggregation.secure_aggregation.server import Server

REFUSALS = (refusals.MessageRejectedError, refusals.SecureAggregationAborted)


def flipped(data, generator):
    changed = bytearray(data)
    changed[generator.integers(len(changed))] ^= 1 << generator.integers(8)
    return bytes(changed)


def swapped(data, generator):
    """Swaps two stretches of 8 bytes: ids, or parts of keys, shares or signatures."""
    changed, size = bytearray(data), 8
    one, other = (4 + size * int(i) for i in generator.integers(0, max(len(data) // size, 1), 2))
    changed[one : one + size], changed[other : other + size] = (
        changed[other : other + size],
        changed[one : one + size],
    )
    return bytes(changed[: len(data)])


def repeated(data, generator):
    start = generator.integers(len(data))
    return data[:start] + data[start : start + 8] + data[start:]


def cut(data, generator):
    return data[: generator.integers(len(data))]


CHANGES = (flipped, swapped, repeated, cut)


class Garbled:
    """A session on a network that changes messages, also before the server signs them.

    Before each message of the server, a client may get some changed messages. Clients may drop out
    in each step, and their own messages may be changed.

    Attributes:
      likely: Probability that a client drops out in a step, and that its answer is changed.
      outcomes: How often each kind of changed message was answered, rejected, or made a client give
        up.
      answers: Client -> kind -> the payloads of its answers.
    """

    def __init__(self, generator, likely):
        self.generator, self.likely = generator, likely
        self.network = Network(6, 4, demanded=demands.Demands(colluders=0))
        # The same parties in another session. Some messages come from that session.
        self.other = Network(6, 4)
        self.other.members, self.other.directory = self.network.members, self.network.directory
        self.other.server = Server(
            self.other.session, self.network.server_identity, self.network.directory
        )
        self.other.invitation = self.other.server.invitation()
        self.other.clients = {c: self.other.join(c) for c in self.other.ids}
        self.inputs = self.network.random_inputs()
        self.outcomes = collections.Counter()
        self.answers = collections.defaultdict(dict)
        self.earlier = []

    def chance(self):
        return self.generator.random() < self.likely

    def lie(self, message, astray):
        """Returns a changed message of the server, and the kind of the change."""
        kind = Kind(message[5])
        change = CHANGES[self.generator.integers(len(CHANGES))]
        choice = self.generator.random()
        if choice < 0.3:
            return change(message, self.generator), "changed on the way"
        if choice < 0.6:
            return astray, "of another session or client"
        if choice < 0.9 and self.earlier:
            return self.earlier[self.generator.integers(len(self.earlier))], "an earlier one"
        receiver = int.from_bytes(message[46:54], "little")
        garbled = change(bytes(payload_of(message)), self.generator)
        identity = self.network.server_identity
        lied = envelope.seal(identity, kind, message[6:38], envelope.SERVER, receiver, garbled)
        return lied, "signed by the server"

    def ask(self, clients, question, astray, answer, add):
        """Sends changed and true messages to clients.

        Returns:
          The clients with answers that the server accepted.
        """
        heard = []
        for c in clients:
            if self.chance():
                continue
            for message, kind in self.deliveries(question[c], astray[c]):
                try:
                    said = answer(c, message)
                except REFUSALS as error:
                    assert str(error) and "\n" not in str(error)
                    self.outcomes[kind, type(error).__name__] += 1
                    continue
                self.outcomes[kind, "answered"] += 1
                sent = Kind(said[5])
                assert sent not in self.answers[c], "a client answers each step once"
                self.answers[c][sent] = payload_of(said)
                heard += [c] * self.hand_in(said, add)
                if sent == Kind.ADVERTISED_KEYS:
                    break  # The client has joined a session, possibly the wrong one.
            self.earlier.append(question[c])
        return heard

    def deliveries(self, message, astray):
        for _ in range(self.generator.poisson(0.4)):
            yield self.lie(message, astray)
        yield message, "true"

    def hand_in(self, message, add):
        """Sends a client's message, maybe changed. Returns whether the server accepted it."""
        if self.chance():
            message = flipped(message, self.generator)
        try:
            add(message)
        except refusals.MessageRejectedError:
            return False
        return True

    def run(self):
        """Runs the round and returns the survivors and their sums."""
        network, server, other = self.network, self.network.server, self.other
        ids, clients = network.ids, network.clients

        def everybody(message):
            return dict.fromkeys(ids, message)

        def join(c, message):
            demanded, directory = network.demanded, network.directory
            clients[c] = Client(message, c, network.members[c], directory, demanded)
            return clients[c].advertise_keys()

        heard = self.ask(
            ids,
            everybody(network.invitation),
            everybody(other.invitation),
            join,
            server.add_advertised_keys,
        )
        heard = self.ask(
            heard,
            everybody(server.roster()),
            everybody(other.advertise()),
            lambda c, m: clients[c].share_keys(m),
            server.add_shared_keys,
        )
        forwarded, astray = dict(server.forwarded_shares()), other.share()
        cross_wired = dict(
            zip(ids, [astray[c] if c % 2 else forwarded[heard[0]] for c in ids], strict=True)
        )
        heard = self.ask(
            heard,
            forwarded,
            cross_wired,
            lambda c, m: clients[c].masked_input(m, self.inputs[c]),
            server.add_masked_input,
        )
        heard = self.ask(
            heard,
            everybody(server.announcement()),
            everybody(other.mask(other.random_inputs(1))),
            lambda c, m: clients[c].check_consistency(m),
            server.add_consistency_signature,
        )
        self.ask(
            heard,
            everybody(server.signatures()),
            everybody(other.check()),
            lambda c, m: clients[c].unmask(m),
            server.add_unmask_shares,
        )
        return server.survivors, server.sums()


@pytest.fixture(scope="module")
def finished_rounds():
    """Rounds with more and more changed messages, and how each round ended."""
    found = []
    for case in range(16):
        generator = seeds.generator(3, "test_garbled_rounds", case)
        garbled = Garbled(generator, 0.006 * case)
        try:
            ended = garbled.run()
        except refusals.SecureAggregationAborted as error:
            ended = error
        found.append((garbled, ended))
    return found


def test_the_right_sum_or_one_clear_error(finished_rounds):
    sums = [(g, e) for g, e in finished_rounds if isinstance(e, tuple)]
    for garbled, (survivors, total) in sums:
        expected = plain_sums(garbled.inputs, survivors, garbled.network.session.vectors)
        assert [s.tolist() for s in total] == expected
    aborted = [str(e) for _, e in finished_rounds if not isinstance(e, tuple)]
    assert all("the threshold is 4; nothing is revealed" in reason for reason in aborted)
    assert len(sums) > 3 and len(aborted) > 3


def test_only_true_messages_are_answered(finished_rounds):
    outcomes = sum((garbled.outcomes for garbled, _ in finished_rounds), collections.Counter())
    kinds = {kind for kind, _ in outcomes}
    assert kinds == {
        "true",
        "changed on the way",
        "of another session or client",
        "an earlier one",
        "signed by the server",
    }
    for kind in kinds - {"true", "signed by the server"}:
        assert outcomes[kind, "MessageRejectedError"] > 0
        assert not outcomes[kind, "SecureAggregationAborted"]
    assert outcomes["signed by the server", "SecureAggregationAborted"] > 0


def test_all_answers_to_unmasking_are_about_the_same_sets(finished_rounds):
    for garbled, _ in finished_rounds:
        claims = set()
        for client, sent in garbled.answers.items():
            if Kind.UNMASK_SHARES in sent:
                shares = messages.decode_unmask_shares(sent[Kind.UNMASK_SHARES])
                assert not shares.self_seeds.keys() & shares.mask_keys.keys()
                assert client in shares.self_seeds
                claims.add((frozenset(shares.self_seeds), frozenset(shares.mask_keys)))
        assert len(claims) <= 1
