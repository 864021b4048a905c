"""A lying server with colluding clients. It attacks real clients and reports what it learns."""

import numpy as np

from tests.aggregation.secure_aggregation.network import payload_of
from tff_nlp.aggregation.secure_aggregation import (
    demands,
    envelope,
    identities,
    keys,
    masks,
    messages,
    modular,
    refusals,
    session,
    sharing,
)
from tff_nlp.aggregation.secure_aggregation.client import Client, pair_sign, point
from tff_nlp.aggregation.secure_aggregation.envelope import Kind

# Colluding clients accept every message of the server.
_NONE = demands.Demands(fewest_clients=2, colluders=0)
VECTORS = (session.Vector(2, 2**20), session.Vector(1, 1009))


class LyingServer:
    """A server that may send different messages to each client in every step.

    It has its signing key, the colluders' secrets, and all answers of honest clients. If a client
    refuses a message, the error is stored in `refused` and the attack goes on without the client.

    Attributes:
      honest: Ids of the clients that follow the protocol.
      colluders: Ids of the clients that give all their secrets to the server. They are the last
        ids.
      inputs: Honest client -> its random input.
      refused: Client -> the error with which it refused a message.
    """

    def __init__(self, clients, colluders, threshold, demanded=demands.DEFAULT, seed=0):
        ids = tuple(range(clients))
        self.threshold = threshold
        self.honest, self.colluders = ids[: clients - colluders], ids[clients - colluders :]
        # `session.new` would check the parameters; a lying server does not.
        self.session = session.Session(bytes(16), ids, threshold, VECTORS)
        self.id = self.session.id
        self.identity, self.members, self.directory = identities.enrol(ids)
        generator = np.random.default_rng(seed)
        self.inputs = {
            c: [generator.integers(0, v.modulus, v.length) for v in VECTORS] for c in self.honest
        }
        self.refused, self.halves = {}, {}
        self.shared, self.heard, self.masked, self.answers = {}, {}, {}, {}
        self.invitation = self.seal(Kind.INVITATION, self.session.encode())
        for c in ids:
            wanted = demanded if c in self.honest else _NONE
            half = self._try(c, lambda c=c, wanted=wanted: self.join(c, wanted))
            if half is not None:
                self.halves[c] = half

    def join(self, client, demanded=demands.DEFAULT):
        """Returns an invited client."""
        return Client(self.invitation, client, self.members[client], self.directory, demanded)

    def _try(self, client, answer):
        """Returns a client's answer, or None if it refuses."""
        if client in self.refused:
            return None
        try:
            return answer()
        except (refusals.MessageRejectedError, refusals.SecureAggregationAborted) as error:
            self.refused[client] = error
            return None

    def seal(self, kind, payload, receiver=envelope.EVERYONE):
        """Returns a message with the server's signature."""
        return envelope.seal(self.identity, kind, self.id, envelope.SERVER, receiver, payload)

    def share_keys(self):
        """Runs the first two steps as in the protocol."""
        advertised = {c: half.advertise_keys() for c, half in self.halves.items()}
        roster = self.roster_of(advertised)
        shared = {c: half.share_keys(roster) for c, half in self.halves.items()}
        self.take_shares(advertised, shared, roster)

    def roster_of(self, advertised):
        """Returns the message with the clients' keys."""
        return self.seal(Kind.ROSTER, messages.encode_roster(advertised))

    def take_shares(self, advertised, shared, roster):
        """Ends the first two steps: reads the clients' messages, and the colluders' secrets."""
        self.advertised = advertised
        self.public = {
            c: messages.decode_advertised_keys(payload_of(m)) for c, m in advertised.items()
        }
        self.shared = {c: messages.decode_shared_keys(payload_of(m)) for c, m in shared.items()}
        self.id = session.round_id(self.session.id, payload_of(roster))
        stolen = {c: self.halves[c]._secrets for c in self.colluders}
        self._boxes = {c: secrets.boxes for c, secrets in stolen.items()}
        self._mask_keys = {c: secrets.mask_key for c, secrets in stolen.items()}

    def mask(self, sharers=None):
        """Lets honest clients send inputs.

        Args:
          sharers: Client -> the clients that shared keys, as the server claims to this client. The
            default is all clients.
        """
        for c in self.honest:
            heard = set((sharers or {}).get(c, self.shared))
            payload = messages.encode_sealed(
                {peer: self.shared[peer].sealed[c] for peer in heard - {c}}
            )
            message = self.seal(Kind.FORWARDED_SHARES, payload, c)
            answer = self._try(
                c, lambda c=c, m=message: self.halves[c].masked_input(m, self.inputs[c])
            )
            if answer is not None:
                self.heard[c] = heard | {c}
                self.masked[c] = messages.decode_vectors(payload_of(answer), VECTORS)

    def unmask(self, dropped):
        """Claims different dropped clients to each honest client, and asks it for shares.

        Args:
          dropped: Honest client -> the dropped clients, as the server claims to this client.
        """
        claims = {
            c: messages.Survivors(tuple(sorted(self.heard[c] - gone)), tuple(sorted(gone)))
            for c, gone in dropped.items()
            if c in self.heard
        }
        signed = {}
        for c, claim in claims.items():
            message = self.seal(Kind.SURVIVORS, claim.encode())
            answer = self._try(c, lambda c=c, m=message: self.halves[c].check_consistency(m))
            if answer is not None:
                signed[c] = envelope.signature_of(answer)
        for c, claim in claims.items():
            payload = messages.encode_signatures(self._signatures(claim, claims, signed))
            message = self.seal(Kind.CONSISTENCY_SIGNATURES, payload)
            answer = self._try(c, lambda c=c, m=message: self.halves[c].unmask(m))
            if answer is not None:
                self.answers[c] = messages.decode_unmask_shares(payload_of(answer))

    def _signatures(self, claim, claims, signed):
        """Returns all signatures over a claim: of the clients that got it, and of colluders."""
        recipients = {c: signature for c, signature in signed.items() if claims[c] == claim}
        for c in set(self.colluders) & set(claim.survivors):
            recipients[c] = envelope.signature_of(
                envelope.seal(
                    self.members[c],
                    Kind.CONSISTENCY_SIGNATURE,
                    self.id,
                    c,
                    envelope.SERVER,
                    claim.digest,
                )
            )
        return recipients

    def learned(self):
        """Returns the sums that the server and the colluders can compute.

        Returns:
          Set of honest clients -> the sums of their inputs, as lists. The sets are disjoint. The
          other inputs are hidden by uniformly random masks.
        """
        seeds, mask_keys = self._secrets()
        rest, hidden = {}, {}
        for c in self.masked.keys() & seeds.keys():
            known = {p for p in self.heard[c] - {c} if c in mask_keys or p in mask_keys}
            rest[c] = [np.copy(total) for total in self.masked[c]]
            pairs = [(self._pair_seed(c, p, mask_keys), -pair_sign(c, p)) for p in known]
            own = keys.self_mask_seed(self.id, c, seeds[c])
            masks.apply(rest[c], VECTORS, [(own, -1), *pairs])
            hidden[c] = self.heard[c] - {c} - known
        return {
            group: self._sum(rest, group)
            for group in _groups(hidden)
            # If only one client of a pair applied their mask, the mask stays in every sum.
            if all(c in hidden.get(p, ()) for c in group for p in hidden.get(c, ()))
        }

    def true_sums(self, clients):
        """Returns the sums over some of the honest clients."""
        return [
            [sum(int(self.inputs[c][k][i]) for c in clients) % v.modulus for i in range(v.length)]
            for k, v in enumerate(VECTORS)
        ]

    def _secrets(self):
        """Returns the self seeds and mask keys that the shares reconstruct, by honest client."""
        seeds, mask_keys = {}, dict(self._mask_keys)
        for c in self.honest:
            sealed = self.shared[c].sealed
            stolen = {k: self._boxes[k][c].unseal(sealed[k]) for k in self.colluders}
            for_key = {k: pair[0] for k, pair in stolen.items()}
            for_seed = {k: pair[1] for k, pair in stolen.items()}
            for holder, answer in self.answers.items():
                if c in answer.mask_keys:
                    for_key[holder] = answer.mask_keys[c]
                if c in answer.self_seeds:
                    for_seed[holder] = answer.self_seeds[c]
            seed, key = self._combine(for_seed), self._combine(for_key)
            if seed is not None:
                assert keys.commitment(self.id, c, seed) == self.shared[c].commitment
                seeds[c] = seed
            if key is not None:
                mask_keys[c] = keys.from_integer(key)
                assert keys.public(mask_keys[c]) == self.public[c].mask_key
        return seeds, mask_keys

    def _combine(self, shares):
        if len(shares) < self.threshold:
            return None
        chosen = {point(c): shares[c] for c in sorted(shares)[: self.threshold]}
        return sharing.combine(sharing.weights(list(chosen)), chosen)

    def _pair_seed(self, one, other, mask_keys):
        owner, peer = (one, other) if one in mask_keys else (other, one)
        public = self.public[peer].mask_key
        return keys.pair_mask_seed(mask_keys[owner], owner, public, peer, self.id)

    def _sum(self, rest, group):
        totals = modular.zeros(VECTORS)
        for c in group:
            for total, part, vector in zip(totals, rest[c], VECTORS, strict=True):
                modular.add(total, part, vector.modulus)
        return [
            modular.residues(total, v.modulus).tolist()
            for total, v in zip(totals, VECTORS, strict=True)
        ]


def _groups(hidden):
    """Yields the groups of clients that are connected by masks that the server cannot remove."""
    left = set(hidden)
    while left:
        group, new = set(), {left.pop()}
        while new:
            group |= new
            new = {p for c in new for p in hidden.get(c, ())} - group
        left -= group
        yield frozenset(group)


def scattered(lying, target):
    """Returns the dropped clients that the server claims to each honest client.

    The claims differ: every honest client outside of the target is claimed as dropped to enough
    clients that the server and the colluders reconstruct its mask key. No client gets a claim with
    more dropped clients than it accepts.
    """
    wanted = lying.threshold - len(lying.colluders)
    each = len(lying.halves) - lying.threshold
    ring = sorted(set(lying.honest) - set(target))
    # To each client of the ring, the server claims the clients after it. The target's clients get
    # the claims of another turn around the ring.
    claims = {
        c: {ring[(i + k) % len(ring)] for k in range(1, each + 1)} for i, c in enumerate(ring)
    }
    for i, c in enumerate(target):
        claims[c] = {ring[(i * each + k) % len(ring)] for k in range(each)}
    heard = [sum(p in gone for gone in claims.values()) for p in ring]
    assert min(heard) >= wanted, "the target is too small for this threshold"
    return claims
