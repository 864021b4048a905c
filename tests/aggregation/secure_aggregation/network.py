"""A server, its clients and the messages between them. A test can read and change each message."""

import numpy as np

from tff_nlp.aggregation.secure_aggregation import demands, envelope, identities, session
from tff_nlp.aggregation.secure_aggregation.client import Client
from tff_nlp.aggregation.secure_aggregation.server import Server

# Conditions for other tests: small cohorts without colluders.
LENIENT = demands.Demands(fewest_clients=2, colluders=0)
VECTORS = (session.Vector(6, 2**20), session.Vector(3, 1_000_003), session.Vector(2, 2**62))


class Network:
    """One session, step by step; `seen` holds every message that reached the server."""

    def __init__(self, clients=5, threshold=None, vectors=VECTORS, demanded=LENIENT):
        self.ids, self.demanded = tuple(range(clients)), demanded
        self.session = session.new(self.ids, vectors, threshold)
        self.server_identity, self.members, self.directory = identities.enrol(self.ids)
        self.server = Server(self.session, self.server_identity, self.directory)
        self.invitation = self.server.invitation()
        self.clients = {c: self.join(c) for c in self.ids}
        self.seen = []

    def join(self, client):
        return Client(self.invitation, client, self.members[client], self.directory, self.demanded)

    @property
    def id(self):
        """The session id or round id that messages have now."""
        return self.server._id

    def random_inputs(self, seed=0):
        generator = np.random.default_rng(seed)
        return {
            c: [generator.integers(0, v.modulus, v.length) for v in self.session.vectors]
            for c in self.ids
        }

    def deliver(self, add, message):
        add(message)
        self.seen.append(message)

    def advertise(self, without=()):
        """Runs the first step and returns the message with all keys."""
        for c in sorted(set(self.ids) - set(without)):
            self.deliver(self.server.add_advertised_keys, self.clients[c].advertise_keys())
        self.listed = set(self.ids) - set(without)
        self.roster = self.server.roster()
        return self.roster

    def share(self, without=()):
        """Runs the second step and returns the forwarded message of each client."""
        for c in sorted(self.listed - set(without)):
            self.deliver(self.server.add_shared_keys, self.clients[c].share_keys(self.roster))
        self.forwarded = dict(self.server.forwarded_shares())
        return self.forwarded

    def mask(self, inputs, without=()):
        """Runs the third step and returns the announcement of the survivors."""
        for c in sorted(self.forwarded.keys() - set(without)):
            message = self.clients[c].masked_input(self.forwarded[c], inputs[c])
            self.deliver(self.server.add_masked_input, message)
        self.announcement = self.server.announcement()
        return self.announcement

    def check(self, without=()):
        """Runs the fourth step and returns the message with the signatures."""
        self.signing = set(self.server.survivors) - set(without)
        for c in sorted(self.signing):
            message = self.clients[c].check_consistency(self.announcement)
            self.deliver(self.server.add_consistency_signature, message)
        self.signatures = self.server.signatures()
        return self.signatures

    def unmask(self, without=()):
        """Runs the last step and returns the sums."""
        for c in sorted(self.signing - set(without)):
            message = self.clients[c].unmask(self.signatures)
            self.deliver(self.server.add_unmask_shares, message)
        return self.server.sums()


def payload_of(message):
    """Returns the payload of a message."""
    return memoryview(message)[envelope.BYTES - identities.SIGNATURE_BYTES :][
        : -identities.SIGNATURE_BYTES
    ]


def plain_sums(inputs, clients, vectors):
    """Returns the sums, computed with Python's integers."""
    return [
        [sum(int(inputs[c][k][i]) for c in clients) % v.modulus for i in range(v.length)]
        for k, v in enumerate(vectors)
    ]
