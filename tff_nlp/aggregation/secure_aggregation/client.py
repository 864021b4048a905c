"""The client half: five answers to five messages of the server (Bonawitz et al. 2017, figure 4)."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from cryptography.hazmat.primitives.asymmetric import x25519

from tff_nlp import errors
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
    steps,
)
from tff_nlp.aggregation.secure_aggregation.envelope import Kind
from tff_nlp.aggregation.secure_aggregation.steps import Step


@dataclasses.dataclass
class _Secrets:
    """The secrets of a client. Each one is deleted as soon as no step needs it.

    Attributes:
      share_key: Private key for the encryption of shares; c^SK in the paper.
      mask_key: Private key for pairwise masks; s^SK in the paper.
      self_seed: Seed of the self mask; b in the paper.
      boxes: Peer -> the encryption of shares between the peer and this client.
      held: Client (including this one) -> this client's shares of its mask key and self seed.
    """

    share_key: x25519.X25519PrivateKey | None
    mask_key: x25519.X25519PrivateKey | None
    self_seed: int
    boxes: dict[int, keys.ShareBox] = dataclasses.field(default_factory=dict)
    held: dict[int, tuple[int, int]] = dataclasses.field(default_factory=dict)


class Client:
    """One client in one session.

    Each method takes the server's message of a step and returns the answer. A message that is not
    authentic, or does not belong to the next step, raises MessageRejectedError and changes nothing.
    An authentic message that breaks the protocol raises SecureAggregationAborted: the client
    deletes its secrets and ends its part in the session.
    """

    def __init__(
        self,
        invitation: bytes,
        client: int,
        identity: identities.Identity,
        directory: identities.Directory,
        demanded: demands.Demands = demands.DEFAULT,
    ) -> None:
        """Reads an invitation.

        Args:
          invitation: The server's message.
          client: The client's id.
          identity: The client's signing key.
          directory: The verification keys. They must not come from the server.
          demanded: The client's own conditions. They must not come from the server.

        Raises:
          MessageRejectedError: If the message is not an invitation from the server.
          SecureAggregationAborted: If its parameters are invalid, do not meet the client's
            conditions, or do not invite the client.
        """
        largest = session.encoded_bytes(demanded.most_clients, demanded.most_vectors)
        _, payload = envelope.unseal(
            invitation, directory, Kind.INVITATION, None, envelope.EVERYONE, largest
        )
        try:
            self._session = session.decode(payload)
            demanded.check(self._session)
        except errors.UserError as error:
            raise refusals.SecureAggregationAborted(
                f"client {client} refuses the session: {error.marked}"
            ) from None
        if self._session.id != envelope.session_id_of(invitation):
            raise refusals.MessageRejectedError(
                "the session id of an invitation does not match its content"
            )
        if client not in self._session.clients:
            raise refusals.SecureAggregationAborted(f"client {client} is not invited")
        self.id, self._identity, self._directory = client, identity, directory
        self._progress = steps.Progress(f"client {client}", self._forget)
        self._secrets: _Secrets | None = None
        self._peers: dict[int, messages.AdvertisedKeys] = {}
        self._sharers: frozenset[int] = frozenset()
        self._announced = messages.Survivors((), ())
        # The id in all messages and keys. From the second step on it is the round id.
        self._id = self._session.id

    @property
    def due(self) -> Step:
        """The step that comes next."""
        return self._progress.due

    @property
    def session(self) -> session.Session:
        """The parameters of the session."""
        return self._session

    @property
    def survivors(self) -> tuple[int, ...]:
        """Ids of the clients with an input in the sum, ascending; empty before they are known."""
        return self._announced.survivors

    def advertise_keys(self) -> bytes:
        """Makes the client's keys for the session and returns a message with the public keys."""
        with self._progress.taking(Step.ADVERTISE_KEYS):
            share_key, mask_key = keys.generate(), keys.generate()
            self._secrets = _Secrets(share_key, mask_key, keys.new_self_seed())
            own = messages.AdvertisedKeys(keys.public(share_key), keys.public(mask_key))
            self._peers = {self.id: own}
            return self._seal(Kind.ADVERTISED_KEYS, own.encode())

    def share_keys(self, roster: bytes) -> bytes:
        """Takes all clients' public keys and returns encrypted shares of both secrets, per peer.

        Args:
          roster: The server's message with the public keys.

        Raises:
          MessageRejectedError: If the message is not authentic or belongs to another step.
          SecureAggregationAborted: If there are fewer clients than the threshold, two keys are
            equal, this client's keys are missing or changed, or a peer's key is unusable.
        """
        with self._progress.taking(Step.SHARE_KEYS):
            payload = self._unseal(roster, Kind.ROSTER, envelope.EVERYONE)
            peers = self._read_roster(payload)
            self._check_peers(peers)
            round_id = session.round_id(self._session.id, payload)
            secrets = self._known_secrets()
            boxes = dict(self._boxes(peers, round_id))
            ids = sorted(peers)
            mask_key, self_seed = (
                dict(zip(ids, self._split(secret, ids), strict=True))
                for secret in (keys.as_integer(_present(secrets.mask_key)), secrets.self_seed)
            )
            sealed = {
                peer: box.seal(mask_key[peer], self_seed[peer]) for peer, box in boxes.items()
            }
            commitment = keys.commitment(round_id, self.id, secrets.self_seed)
            self._id = round_id
            answer = self._seal(Kind.SHARED_KEYS, messages.SharedKeys(commitment, sealed).encode())
            secrets.share_key, secrets.boxes = None, boxes
            secrets.held = {self.id: (mask_key[self.id], self_seed[self.id])}
            self._peers = peers
            return answer

    def masked_input(self, forwarded: bytes, tensors: Sequence[np.ndarray]) -> bytes:
        """Takes the peers' encrypted shares and returns the input with all masks added.

        A client answers only once, because two inputs with the same masks would reveal their
        difference.

        Args:
          forwarded: The server's message with the encrypted shares.
          tensors: Integer tensors, one per vector of the session. Each tensor has any shape with as
            many entries as its vector. Entries are taken modulo the vector's modulus.

        Raises:
          ValueError: If a tensor has another number of entries than its vector.
          TypeError: If a tensor does not hold integers.
          MessageRejectedError: If the message is not authentic or belongs to another step.
          SecureAggregationAborted: If fewer peers than the threshold shared their keys, or a share
            does not decrypt.
        """
        with self._progress.taking(Step.MASKED_INPUT):
            totals = self._as_totals(tensors)
            payload = self._unseal(forwarded, Kind.FORWARDED_SHARES, self.id)
            secrets = self._known_secrets()
            held = self._decrypt(messages.decode_sealed(payload)) | secrets.held
            masks.apply(totals, self._session.vectors, self._masks(held))
            answer = self._seal(
                Kind.MASKED_INPUT, messages.encode_vectors(totals, self._session.vectors)
            )
            # All secrets that could mask or unmask this client's input are deleted. Only shares of
            # the clients' secrets stay.
            secrets.mask_key, secrets.self_seed, secrets.boxes = None, 0, {}
            secrets.held, self._sharers = held, frozenset(held)
            return answer

    def check_consistency(self, announcement: bytes) -> bytes:
        """Takes the sets of survivors and dropped clients and returns a signature over both.

        A client signs only once. Its signature shows its peers which sets it got from the server.

        Args:
          announcement: The server's message with the two sets.

        Raises:
          MessageRejectedError: If the message is not authentic or belongs to another step.
          SecureAggregationAborted: If a client is in both sets, the sets have other clients than
            those that shared keys, this client is not a survivor, or there are too few survivors.
        """
        with self._progress.taking(Step.CONSISTENCY_CHECK):
            announced = messages.decode_survivors(
                self._unseal(announcement, Kind.SURVIVORS, envelope.EVERYONE)
            )
            self._check_survivors(announced)
            self._announced = announced
            return self._seal(Kind.CONSISTENCY_SIGNATURE, announced.digest)

    def unmask(self, signatures: bytes) -> bytes:
        """Takes the survivors' signatures and returns one share per client that shared its keys.

        It is a share of a survivor's self seed, or a share of a dropped client's mask key. A client
        answers only once and never returns both shares for one client, because with both the server
        could unmask that client's input. It answers only if at least `threshold` survivors signed
        the same sets as this client, so no two clients answer for different sets (see
        `session.least_threshold`).

        Args:
          signatures: The server's message with the signatures.

        Raises:
          MessageRejectedError: If the message is not authentic or belongs to another step.
          SecureAggregationAborted: If there are too few signatures, or one of them is not the
            signature of a survivor over these sets.
        """
        with self._progress.taking(Step.UNMASK):
            payload = self._unseal(signatures, Kind.CONSISTENCY_SIGNATURES, envelope.EVERYONE)
            self._check_signatures(messages.decode_signatures(payload))
            held = self._known_secrets().held
            answer = messages.UnmaskShares(
                self_seeds={peer: held[peer][1] for peer in self._announced.survivors},
                mask_keys={peer: held[peer][0] for peer in self._announced.dropped},
            )
            return self._seal(Kind.UNMASK_SHARES, answer.encode())

    def _seal(self, kind: Kind, payload: bytes) -> bytes:
        return envelope.seal(self._identity, kind, self._id, self.id, envelope.SERVER, payload)

    def _unseal(self, message: bytes, kind: Kind, receiver: int) -> memoryview:
        invited, vectors = len(self._session.clients), self._session.vectors
        largest = messages.largest_payload(kind, invited, vectors)
        _, payload = envelope.unseal(message, self._directory, kind, self._id, receiver, largest)
        return payload

    def _known_secrets(self) -> _Secrets:
        assert self._secrets is not None, "the first step makes them and the last one deletes them"
        return self._secrets

    def _forget(self) -> None:
        self._secrets = None

    def _abort(self, reason: str) -> refusals.SecureAggregationAborted:
        return refusals.SecureAggregationAborted(f"client {self.id} gives up the round: {reason}")

    def _read_roster(self, payload: memoryview) -> dict[int, messages.AdvertisedKeys]:
        peers: dict[int, messages.AdvertisedKeys] = {}
        invited = frozenset(self._session.clients)
        for message in messages.decode_roster(payload):
            try:
                peer, advertised = envelope.unseal(
                    message,
                    self._directory,
                    Kind.ADVERTISED_KEYS,
                    self._session.id,
                    envelope.SERVER,
                    2 * keys.PUBLIC_BYTES,
                )
            except refusals.MessageRejectedError as error:
                raise self._abort(
                    f"the list of keys from the server has keys that no peer signed: {error}"
                ) from None
            if peer in peers or peer not in invited:
                raise self._abort(
                    f"client {peer} appears twice in the list of keys, or is not invited"
                )
            peers[peer] = messages.decode_advertised_keys(advertised)
        return peers

    def _check_peers(self, peers: Mapping[int, messages.AdvertisedKeys]) -> None:
        if len(peers) < self._session.threshold:
            raise self._abort(self._too_few(len(peers), "advertised keys"))
        if peers.get(self.id) != self._peers[self.id]:
            raise self._abort("its own keys are not in the list of keys from the server")
        public = [key for peer in peers.values() for key in (peer.share_key, peer.mask_key)]
        if len(set(public)) < len(public):
            raise self._abort("two of the peers' keys are the same")

    def _too_few(self, count: int, what: str) -> str:
        return f"{count} clients {what}, the threshold is {self._session.threshold}"

    def _boxes(
        self, peers: Mapping[int, messages.AdvertisedKeys], round_id: bytes
    ) -> Iterator[tuple[int, keys.ShareBox]]:
        own = _present(self._known_secrets().share_key)
        for peer, advertised in peers.items():
            if peer == self.id:
                continue
            try:
                box = keys.ShareBox(own, self.id, advertised.share_key, peer, round_id)
            except ValueError:
                raise self._abort(f"the public key of client {peer} is unusable") from None
            yield peer, box

    def _split(self, secret: int, ids: Sequence[int]) -> list[int]:
        return sharing.split(secret, self._session.threshold, [point(peer) for peer in ids])

    def _as_totals(self, tensors: Sequence[np.ndarray]) -> list[np.ndarray]:
        vectors = self._session.vectors
        sizes = [tensor.size for tensor in tensors]
        if sizes != [vector.length for vector in vectors]:
            expected = [vector.length for vector in vectors]
            raise ValueError(f"client {self.id}'s tensors have {sizes} entries, not {expected}")
        return [
            modular.from_integers(tensor, vector.modulus)
            for tensor, vector in zip(tensors, vectors, strict=True)
        ]

    def _decrypt(self, sealed: Mapping[int, bytes]) -> dict[int, tuple[int, int]]:
        boxes = self._known_secrets().boxes
        if not sealed.keys() <= boxes.keys():
            raise self._abort("shares came from a client that advertised no keys")
        if len(sealed) + 1 < self._session.threshold:
            raise self._abort(self._too_few(len(sealed) + 1, "shared keys"))
        held = {}
        for peer, ciphertext in sealed.items():
            try:
                held[peer] = boxes[peer].unseal(ciphertext)
            except ValueError as error:
                raise self._abort(f"the shares of client {peer} do not decrypt: {error}") from None
        return held

    def _masks(self, sharers: Mapping[int, object]) -> Iterator[tuple[bytes, int]]:
        """Yields the seeds of the self mask and the pairwise masks, with their signs."""
        secrets = self._known_secrets()
        yield keys.self_mask_seed(self._id, self.id, secrets.self_seed), 1
        for peer in sharers:
            if peer == self.id:
                continue
            public = self._peers[peer].mask_key
            own = _present(secrets.mask_key)
            try:
                seed = keys.pair_mask_seed(own, self.id, public, peer, self._id)
            except ValueError:
                raise self._abort(f"the public key of client {peer} is unusable") from None
            yield seed, pair_sign(self.id, peer)

    def _check_survivors(self, announced: messages.Survivors) -> None:
        survivors, dropped = frozenset(announced.survivors), frozenset(announced.dropped)
        both = survivors & dropped
        if both:
            raise self._abort(f"the server names client {min(both)} as survivor and as dropped")
        if survivors | dropped != self._sharers:
            raise self._abort("the server names other clients than those that shared their keys")
        if self.id not in survivors:
            raise self._abort("the server says that it has no input of this client")
        if len(survivors) < self._session.threshold:
            raise self._abort(self._too_few(len(survivors), "sent masked inputs"))

    def _check_signatures(self, signatures: Mapping[int, bytes]) -> None:
        if not signatures.keys() <= set(self._announced.survivors):
            raise self._abort("a client that is not a survivor signed the sets of survivors")
        if len(signatures) < self._session.threshold:
            raise self._abort(self._too_few(len(signatures), "signed the same sets of survivors"))
        kind, digest = Kind.CONSISTENCY_SIGNATURE, self._announced.digest
        for peer, signature in signatures.items():
            message = envelope.with_signature(
                kind, self._id, peer, envelope.SERVER, digest, signature
            )
            try:
                envelope.unseal(
                    message, self._directory, kind, self._id, envelope.SERVER, len(digest)
                )
            except refusals.MessageRejectedError:
                raise self._abort(
                    f"client {peer} did not sign the sets of survivors that this client was given"
                ) from None


def point(client: int) -> int:
    """Returns the point of the field at which a client's shares are. The secret is at 0."""
    return client + 1


def pair_sign(client: int, peer: int) -> int:
    """Returns the sign with which a client adds its mask with a peer. The peer negates it."""
    return 1 if client > peer else -1


def _present(key: x25519.X25519PrivateKey | None) -> x25519.X25519PrivateKey:
    assert key is not None, "an earlier step made it, and no later step deleted it"
    return key
