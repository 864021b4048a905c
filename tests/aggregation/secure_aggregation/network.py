"""A server, its clients and the messages between them, each of which a test may see and change."""

import numpy as np

from tff_nlp.aggregation.secure_aggregation import demands, envelope, identities, session
from tff_nlp.aggregation.secure_aggregation.client import Client
from tff_nlp.aggregation.secure_aggregation.server import Server

# For tests that are not about demands: small cohorts, and nobody on the server's side.
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
        """What messages are under at the moment."""
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
        """Lets clients advertise keys; returns the roster."""
        for c in sorted(set(self.ids) - set(without)):
            self.deliver(self.server.add_advertised_keys, self.clients[c].advertise_keys())
        self.listed = set(self.ids) - set(without)
        self.roster = self.server.roster()
        return self.roster

    def share(self, without=()):
        """Lets clients share keys; returns by client what is forwarded to it."""
        for c in sorted(self.listed - set(without)):
            self.deliver(self.server.add_shared_keys, self.clients[c].share_keys(self.roster))
        self.forwarded = dict(self.server.forwarded_shares())
        return self.forwarded

    def mask(self, inputs, without=()):
        """Lets clients send inputs; returns who survived."""
        for c in sorted(self.forwarded.keys() - set(without)):
            message = self.clients[c].masked_input(self.forwarded[c], inputs[c])
            self.deliver(self.server.add_masked_input, message)
        self.announcement = self.server.announcement()
        return self.announcement

    def check(self, without=()):
        """Lets clients sign who survived; returns the signatures."""
        self.signing = set(self.server.survivors) - set(without)
        for c in sorted(self.signing):
            message = self.clients[c].check_consistency(self.announcement)
            self.deliver(self.server.add_consistency_signature, message)
        self.signatures = self.server.signatures()
        return self.signatures

    def unmask(self, without=()):
        """Lets clients unmask; returns the sums."""
        for c in sorted(self.signing - set(without)):
            message = self.clients[c].unmask(self.signatures)
            self.deliver(self.server.add_unmask_shares, message)
        return self.server.sums()


def payload_of(message):
    """What is inside a message."""
    return memoryview(message)[envelope.BYTES - identities.SIGNATURE_BYTES :][
        : -identities.SIGNATURE_BYTES
    ]


def plain_sums(inputs, clients, vectors):
    """The sums by Python's own integers."""
    return [
        [sum(int(inputs[c][k][i]) for c in clients) % v.modulus for i in range(v.length)]
        for k, v in enumerate(vectors)
    ]
