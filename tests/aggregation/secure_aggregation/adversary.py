"""A server that lies to real client halves, with clients on its side, and counts what it learns."""

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

# Clients on the server's side accept whatever it says.
_NONE = demands.Demands(fewest_clients=2, colluders=0)
VECTORS = (session.Vector(2, 2**20), session.Vector(1, 1009))


class LyingServer:
    """The server's signing key, the colluders' secrets, and all that honest clients answer.

    Every step may be played with a story of its own for each client. What a client refuses is kept
    in `refused`, and the attack goes on without it.

    Attributes:
      honest: The clients that follow the protocol.
      colluders: Those that give the server all that they have; they are the last ids.
      inputs: By honest client, what it sends; random.
      refused: By client, the error.
    """

    def __init__(self, clients, colluders, threshold, demanded=demands.DEFAULT, seed=0):
        ids = tuple(range(clients))
        self.threshold = threshold
        self.honest, self.colluders = ids[: clients - colluders], ids[clients - colluders :]
        # Not by `session.new`: no check of the server's own stands in its way.
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
        """Returns a half that was invited."""
        return Client(self.invitation, client, self.members[client], self.directory, demanded)

    def _try(self, client, answer):
        """Returns a client's answer; None if it refuses."""
        if client in self.refused:
            return None
        try:
            return answer()
        except (refusals.MessageRejectedError, refusals.SecureAggregationAborted) as error:
            self.refused[client] = error
            return None

    def seal(self, kind, payload, receiver=envelope.EVERYONE):
        """Returns a message that the server really signed."""
        return envelope.seal(self.identity, kind, self.id, envelope.SERVER, receiver, payload)

    def share_keys(self):
        """Plays the first two steps as the protocol has them."""
        advertised = {c: half.advertise_keys() for c, half in self.halves.items()}
        roster = self.roster_of(advertised)
        shared = {c: half.share_keys(roster) for c, half in self.halves.items()}
        self.take_shares(advertised, shared, roster)

    def roster_of(self, advertised):
        """Returns the message that hands on the clients' keys."""
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
          sharers: By client, the clients that it hears shared keys; everybody if left out.
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
        """Tells each honest client its own story of who vanished, and asks it for shares.

        Args:
          dropped: By honest client that is asked, the clients that are said to have vanished.
        """
        stories = {
            c: messages.Survivors(tuple(sorted(self.heard[c] - gone)), tuple(sorted(gone)))
            for c, gone in dropped.items()
            if c in self.heard
        }
        signed = {}
        for c, story in stories.items():
            message = self.seal(Kind.SURVIVORS, story.encode())
            answer = self._try(c, lambda c=c, m=message: self.halves[c].check_consistency(m))
            if answer is not None:
                signed[c] = envelope.signature_of(answer)
        for c, story in stories.items():
            payload = messages.encode_signatures(self._signatures(story, stories, signed))
            message = self.seal(Kind.CONSISTENCY_SIGNATURES, payload)
            answer = self._try(c, lambda c=c, m=message: self.halves[c].unmask(m))
            if answer is not None:
                self.answers[c] = messages.decode_unmask_shares(payload_of(answer))

    def _signatures(self, story, stories, signed):
        """All signatures under a story: of the clients that heard it, and of colluders."""
        heard_it = {c: signature for c, signature in signed.items() if stories[c] == story}
        for c in set(self.colluders) & set(story.survivors):
            heard_it[c] = envelope.signature_of(
                envelope.seal(
                    self.members[c],
                    Kind.CONSISTENCY_SIGNATURE,
                    self.id,
                    c,
                    envelope.SERVER,
                    story.digest,
                )
            )
        return heard_it

    def learned(self):
        """Returns the sums that server and colluders can work out.

        Returns:
          By the set of honest clients that are summed: the sums, as lists. The sets are disjoint;
          of what is not in one of them the server has uniformly random numbers.
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
            # A mask that only one of a pair has on its input stays in every sum.
            if all(c in hidden.get(p, ()) for c in group for p in hidden.get(c, ()))
        }

    def true_sums(self, clients):
        """Returns the sums over some of the honest clients."""
        return [
            [sum(int(self.inputs[c][k][i]) for c in clients) % v.modulus for i in range(v.length)]
            for k, v in enumerate(VECTORS)
        ]

    def _secrets(self):
        """Returns, by honest client, the self seeds and the mask keys that the shares give."""
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
    """Yields the clients that are connected by masks that nobody can remove."""
    left = set(hidden)
    while left:
        group, new = set(), {left.pop()}
        while new:
            group |= new
            new = {p for c in new for p in hidden.get(c, ())} - group
        left -= group
        yield frozenset(group)


def scattered(lying, target):
    """Returns, by honest client, the clients that it hears vanished.

    The story is another one for each: every honest client outside of the target is said to have
    vanished to so many others that server and colluders get its mask key, while no client hears of
    more than it would accept.
    """
    wanted = lying.threshold - len(lying.colluders)
    each = len(lying.halves) - lying.threshold
    ring = sorted(set(lying.honest) - set(target))
    # Each client of the ring hears of those after it; the target's clients go round it once more.
    stories = {
        c: {ring[(i + k) % len(ring)] for k in range(1, each + 1)} for i, c in enumerate(ring)
    }
    for i, c in enumerate(target):
        stories[c] = {ring[(i * each + k) % len(ring)] for k in range(each)}
    heard = [sum(p in gone for gone in stories.values()) for p in ring]
    assert min(heard) >= wanted, "the target is too small for this threshold"
    return stories
