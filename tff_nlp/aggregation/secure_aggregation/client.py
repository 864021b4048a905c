"""The client half: four answers to four messages of the server (Bonawitz et al. 2017, figure 4)."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from cryptography.hazmat.primitives.asymmetric import x25519

from tff_nlp import errors
from tff_nlp.aggregation.secure_aggregation import (
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
    """What a client must not tell; dropped as soon as a step no longer needs it.

    Attributes:
      share_key: c^SK, for encrypting shares.
      mask_key: s^SK, for pairwise masks.
      self_seed: b, behind the self mask.
      boxes: By peer, the encryption of shares.
      held: By client, this one included, the shares of its mask key and its self seed.
    """

    share_key: x25519.X25519PrivateKey | None
    mask_key: x25519.X25519PrivateKey | None
    self_seed: int
    boxes: dict[int, keys.ShareBox] = dataclasses.field(default_factory=dict)
    held: dict[int, tuple[int, int]] = dataclasses.field(default_factory=dict)


class Client:
    """One client in one session.

    Each method takes the server's message of a step and returns the answer. A message that is not
    authentic or not due raises MessageRejectedError and changes nothing. An authentic one that
    breaks the protocol raises SecureAggregationAborted: the client forgets its secrets and is done.
    """

    def __init__(
        self,
        invitation: bytes,
        client: int,
        identity: identities.Identity,
        directory: identities.Directory,
    ) -> None:
        """Reads an invitation.

        Args:
          invitation: The server's message.
          client: The client's id.
          identity: Its signing key.
          directory: The verification keys, from somebody other than the server.

        Raises:
          MessageRejectedError: If the message is not the server's or not an invitation.
          SecureAggregationAborted: If its parameters are not private, or do not invite the client.
        """
        _, payload = envelope.unseal(
            invitation, directory, Kind.INVITATION, None, envelope.EVERYONE
        )
        try:
            self._session = session.decode(payload)
        except errors.UserError as error:
            raise refusals.SecureAggregationAborted(
                f"client {client} refuses the session: {error}"
            ) from None
        if self._session.id != envelope.session_id_of(invitation):
            raise refusals.MessageRejectedError("an invitation's session id is not its own")
        if client not in self._session.clients:
            raise refusals.SecureAggregationAborted(f"client {client} is not invited")
        self.id, self._identity, self._directory = client, identity, directory
        self._progress = steps.Progress(f"client {client}", self._forget)
        self._secrets: _Secrets | None = None
        self._peers: dict[int, messages.AdvertisedKeys] = {}
        self._sharers: frozenset[int] = frozenset()

    @property
    def due(self) -> Step:
        """The step that comes next."""
        return self._progress.due

    def advertise_keys(self) -> bytes:
        """Makes the session's keys and returns the message with their public halves."""
        with self._progress.taking(Step.ADVERTISE_KEYS):
            share_key, mask_key = keys.generate(), keys.generate()
            self._secrets = _Secrets(share_key, mask_key, keys.new_self_seed())
            own = messages.AdvertisedKeys(keys.public(share_key), keys.public(mask_key))
            self._peers = {self.id: own}
            return self._seal(Kind.ADVERTISED_KEYS, own.encode())

    def share_keys(self, roster: bytes) -> bytes:
        """Takes the peers' public keys; returns a share of both secrets for each, encrypted.

        Raises:
          MessageRejectedError: If the message is not authentic or not due.
          SecureAggregationAborted: If there are fewer peers than the threshold, two have the same
            key, this client is missing or has other keys than its own, or a peer's key is bad.
        """
        with self._progress.taking(Step.SHARE_KEYS):
            peers = self._read_roster(self._unseal(roster, Kind.ROSTER, envelope.EVERYONE))
            self._check_peers(peers)
            secrets = self._known_secrets()
            boxes = dict(self._boxes(peers))
            ids = sorted(peers)
            mask_key, self_seed = (
                dict(zip(ids, self._split(secret, ids), strict=True))
                for secret in (keys.as_integer(_present(secrets.mask_key)), secrets.self_seed)
            )
            sealed = {
                peer: box.seal(mask_key[peer], self_seed[peer]) for peer, box in boxes.items()
            }
            commitment = keys.commitment(self._session.id, self.id, secrets.self_seed)
            answer = self._seal(Kind.SHARED_KEYS, messages.SharedKeys(commitment, sealed).encode())
            secrets.share_key, secrets.boxes = None, boxes
            secrets.held = {self.id: (mask_key[self.id], self_seed[self.id])}
            self._peers = peers
            return answer

    def masked_input(self, forwarded: bytes, tensors: Sequence[np.ndarray]) -> bytes:
        """Takes the peers' encrypted shares; returns the input with all masks on it.

        A client answers once: two inputs under the same masks would tell their difference.

        Args:
          forwarded: The server's message.
          tensors: Integers, of any shape with as many entries as the session's vectors have; each
            stands for its remainder.

        Raises:
          ValueError, TypeError: If the tensors are not of the session's sizes, or not integers.
          MessageRejectedError: If the message is not authentic or not due.
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
            # Nothing that could mask, or unmask, this client's input stays, but its peers' shares.
            secrets.mask_key, secrets.self_seed, secrets.boxes = None, 0, {}
            secrets.held, self._sharers = held, frozenset(held)
            return answer

    def unmask(self, request: bytes) -> bytes:
        """Returns a share of the self mask of each survivor and of each vanished peer's mask key.

        A client answers once, and for each peer with one of the two: with both, the server could
        unmask that peer's input.

        Raises:
          MessageRejectedError: If the message is not authentic or not due.
          SecureAggregationAborted: If the request names a peer as both, leaves one out or adds
            one, does not count this client as a survivor, or has too few survivors.
        """
        with self._progress.taking(Step.UNMASK):
            asked = messages.decode_unmask_request(
                self._unseal(request, Kind.UNMASK_REQUEST, envelope.EVERYONE)
            )
            self._check_request(asked)
            held = self._known_secrets().held
            answer = messages.UnmaskShares(
                self_seeds={peer: held[peer][1] for peer in asked.survivors},
                mask_keys={peer: held[peer][0] for peer in asked.dropped},
            )
            return self._seal(Kind.UNMASK_SHARES, answer.encode())

    def _seal(self, kind: Kind, payload: bytes) -> bytes:
        return envelope.seal(
            self._identity, kind, self._session.id, self.id, envelope.SERVER, payload
        )

    def _unseal(self, message: bytes, kind: Kind, receiver: int) -> memoryview:
        return envelope.unseal(message, self._directory, kind, self._session.id, receiver)[1]

    def _known_secrets(self) -> _Secrets:
        assert self._secrets is not None, "set by the first step and forgotten by the last"
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
                )
            except refusals.MessageRejectedError as error:
                raise self._abort(
                    f"the server hands on keys that are not a peer's: {error}"
                ) from None
            if peer in peers or peer not in invited:
                raise self._abort(f"client {peer} is twice among the keys, or not invited")
            peers[peer] = messages.decode_advertised_keys(advertised)
        return peers

    def _check_peers(self, peers: Mapping[int, messages.AdvertisedKeys]) -> None:
        if len(peers) < self._session.threshold:
            raise self._abort(self._too_few(len(peers), "advertised keys"))
        if peers.get(self.id) != self._peers[self.id]:
            raise self._abort("its own keys are not among those that the server hands on")
        public = [key for peer in peers.values() for key in (peer.share_key, peer.mask_key)]
        if len(set(public)) < len(public):
            raise self._abort("two of the peers' keys are the same")

    def _too_few(self, count: int, what: str) -> str:
        return f"{count} clients {what}, the threshold is {self._session.threshold}"

    def _boxes(
        self, peers: Mapping[int, messages.AdvertisedKeys]
    ) -> Iterator[tuple[int, keys.ShareBox]]:
        own = _present(self._known_secrets().share_key)
        for peer, advertised in peers.items():
            if peer == self.id:
                continue
            try:
                box = keys.ShareBox(own, self.id, advertised.share_key, peer, self._session.id)
            except ValueError:
                raise self._abort(f"no key can be agreed on with client {peer}") from None
            yield peer, box

    def _split(self, secret: int, ids: Sequence[int]) -> list[int]:
        return sharing.split(secret, self._session.threshold, [point(peer) for peer in ids])

    def _as_totals(self, tensors: Sequence[np.ndarray]) -> list[np.ndarray]:
        vectors = self._session.vectors
        sizes = [tensor.size for tensor in tensors]
        if sizes != [vector.length for vector in vectors]:
            raise ValueError(f"client {self.id}'s tensors have {sizes} entries, not the session's")
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
        secrets, session_id = self._known_secrets(), self._session.id
        yield keys.self_mask_seed(session_id, self.id, secrets.self_seed), 1
        for peer in sharers:
            if peer == self.id:
                continue
            public = self._peers[peer].mask_key
            own = _present(secrets.mask_key)
            try:
                seed = keys.pair_mask_seed(own, self.id, public, peer, session_id)
            except ValueError:
                raise self._abort(f"no key can be agreed on with client {peer}") from None
            yield seed, pair_sign(self.id, peer)

    def _check_request(self, asked: messages.UnmaskRequest) -> None:
        survivors, dropped = frozenset(asked.survivors), frozenset(asked.dropped)
        both = survivors & dropped
        if both:
            raise self._abort(f"the server names client {min(both)} as survivor and as dropped")
        if survivors | dropped != self._sharers:
            raise self._abort("the server asks for other clients than those that shared their keys")
        if self.id not in survivors:
            raise self._abort("the server says that it has no input of this client")
        if len(survivors) < self._session.threshold:
            raise self._abort(self._too_few(len(survivors), "sent masked inputs"))


def point(client: int) -> int:
    """Returns a client's place in the field, where its shares are; 0 is the secret's."""
    return client + 1


def pair_sign(client: int, peer: int) -> int:
    """Returns how a client applies the mask that it has with a peer; the peer does the opposite."""
    return 1 if client > peer else -1


def _present(key: x25519.X25519PrivateKey | None) -> x25519.X25519PrivateKey:
    assert key is not None, "the step before made it, and no step after its last use is taken"
    return key
