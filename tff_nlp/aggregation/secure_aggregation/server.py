"""The server half: collects messages, forwards them and unmasks the sum.

It follows Bonawitz et al. 2017, figure 4. It keeps one running sum of masked inputs and no single
input, so its memory for inputs does not grow with the number of clients.
"""

from collections.abc import Iterator, Mapping

import numpy as np

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
from tff_nlp.aggregation.secure_aggregation.client import pair_sign, point
from tff_nlp.aggregation.secure_aggregation.envelope import Kind
from tff_nlp.aggregation.secure_aggregation.steps import Step


class Server:
    """The server in one session.

    Each step has a method that adds one client's message, and a method that closes the step and
    returns the next messages. A message that is not authentic, belongs to another step or is a
    client's second one raises MessageRejectedError and changes nothing. The caller may go on
    without it. Closing a step with fewer clients than the threshold raises SecureAggregationAborted
    and deletes the collected data.
    """

    def __init__(
        self,
        parameters: session.Session,
        identity: identities.Identity,
        directory: identities.Directory,
    ) -> None:
        self._session, self._identity, self._directory = parameters, identity, directory
        self._invited = frozenset(parameters.clients)
        self._progress = steps.Progress("the server", self._forget)
        self._advertised: dict[int, bytes] = {}
        self._mask_keys: dict[int, bytes] = {}
        self._used_keys: set[bytes] = set()
        self._commitments: dict[int, bytes] = {}
        self._sealed: dict[int, Mapping[int, bytes]] = {}
        self._totals: list[np.ndarray] = []
        self._survivors: set[int] = set()
        self._announced = messages.Survivors((), ())
        self._signatures: dict[int, bytes] = {}
        self._answers: dict[int, messages.UnmaskShares] = {}
        # The id in all messages and keys. After the first step it is the round id.
        self._id = parameters.id

    @property
    def due(self) -> Step:
        """The step that comes next."""
        return self._progress.due

    @property
    def survivors(self) -> tuple[int, ...]:
        """Ids of the clients with an input in the sum, ascending."""
        return tuple(sorted(self._survivors))

    def invitation(self) -> bytes:
        """Returns the message that opens the session, for all invited clients."""
        return self._seal(Kind.INVITATION, envelope.EVERYONE, self._session.encode())

    def add_advertised_keys(self, message: bytes) -> None:
        """Takes a client's public keys."""
        self._progress.expect(Step.ADVERTISE_KEYS)
        sender, payload = self._unseal(message, Kind.ADVERTISED_KEYS, self._advertised)
        if sender not in self._invited:
            raise refusals.MessageRejectedError(f"client {sender} is not invited")
        found = messages.decode_advertised_keys(payload)
        fresh = {found.share_key, found.mask_key}
        if len(fresh) < 2 or fresh & self._used_keys:
            raise refusals.MessageRejectedError(f"client {sender} advertises a key twice")
        if not all(map(keys.is_usable, fresh)):
            raise refusals.MessageRejectedError(f"client {sender} advertises a key of low order")
        self._used_keys |= fresh
        self._advertised[sender] = bytes(message)
        self._mask_keys[sender] = found.mask_key

    def roster(self) -> bytes:
        """Closes the first step and returns a message with all public keys.

        It is for the clients that sent keys.
        """
        with self._progress.taking(Step.ADVERTISE_KEYS):
            self._check_enough(len(self._advertised), "advertised keys")
            payload = messages.encode_roster(self._advertised)
            message = self._seal(Kind.ROSTER, envelope.EVERYONE, payload)
            self._id = session.round_id(self._session.id, payload)
            return message

    def add_shared_keys(self, message: bytes) -> None:
        """Takes a client's encrypted shares."""
        self._progress.expect(Step.SHARE_KEYS)
        sender, payload = self._unseal(message, Kind.SHARED_KEYS, self._sealed)
        found = messages.decode_shared_keys(payload)
        if found.sealed.keys() | {sender} != self._advertised.keys() or sender in found.sealed:
            raise refusals.MessageRejectedError(
                f"client {sender} did not send exactly one share for each other client"
            )
        self._commitments[sender] = found.commitment
        self._sealed[sender] = found.sealed

    def forwarded_shares(self) -> Iterator[tuple[int, bytes]]:
        """Closes the second step and yields a message for each client that shared keys.

        Yields:
          The client's id and the message with the encrypted shares of its peers.
        """
        with self._progress.taking(Step.SHARE_KEYS):
            self._check_enough(len(self._sealed), "shared keys")
            self._totals = modular.zeros(self._session.vectors)
            sealed, self._sealed = self._sealed, {}
        return (
            (receiver, self._seal(Kind.FORWARDED_SHARES, receiver, _addressed(sealed, receiver)))
            for receiver in sorted(sealed)
        )

    def add_masked_input(self, message: bytes) -> None:
        """Adds a client's masked input to the running sum. The input itself is not kept."""
        self._progress.expect(Step.MASKED_INPUT)
        sender, payload = self._unseal(message, Kind.MASKED_INPUT, self._survivors)
        if sender not in self._commitments:
            raise refusals.MessageRejectedError(f"client {sender} did not share its keys")
        vectors = self._session.vectors
        masked = messages.decode_vectors(payload, vectors)
        for total, addend, vector in zip(self._totals, masked, vectors, strict=True):
            modular.add(total, addend, vector.modulus)
        self._survivors.add(sender)

    def announcement(self) -> bytes:
        """Closes the third step and returns a message with the survivors and dropped clients.

        It is for the survivors. Later inputs are rejected, because their senders count as dropped
        and clients must never reveal shares of both secrets of a client.
        """
        with self._progress.taking(Step.MASKED_INPUT):
            self._check_enough(len(self._survivors), "sent masked inputs")
            # The survivors' inputs have masks with all clients that shared keys.
            dropped = self._commitments.keys() - self._survivors
            self._announced = messages.Survivors(self.survivors, tuple(sorted(dropped)))
            return self._seal(Kind.SURVIVORS, envelope.EVERYONE, self._announced.encode())

    def add_consistency_signature(self, message: bytes) -> None:
        """Takes a survivor's signature over the sets of survivors and dropped clients."""
        self._progress.expect(Step.CONSISTENCY_CHECK)
        sender, payload = self._unseal(message, Kind.CONSISTENCY_SIGNATURE, self._signatures)
        if sender not in self._survivors:
            raise refusals.MessageRejectedError(f"client {sender} sent no masked input")
        if payload != self._announced.digest:
            raise refusals.MessageRejectedError(f"client {sender} signed other sets of survivors")
        self._signatures[sender] = envelope.signature_of(message)

    def signatures(self) -> bytes:
        """Closes the fourth step and returns a message with the signatures.

        It is for the clients that signed.
        """
        with self._progress.taking(Step.CONSISTENCY_CHECK):
            self._check_enough(len(self._signatures), "signed the sets of survivors")
            return self._seal(
                Kind.CONSISTENCY_SIGNATURES,
                envelope.EVERYONE,
                messages.encode_signatures(self._signatures),
            )

    def add_unmask_shares(self, message: bytes) -> None:
        """Takes a client's shares of the secrets that unmask the sum."""
        self._progress.expect(Step.UNMASK)
        sender, payload = self._unseal(message, Kind.UNMASK_SHARES, self._answers)
        if sender not in self._signatures:
            raise refusals.MessageRejectedError(f"client {sender} did not sign the survivors")
        answer = messages.decode_unmask_shares(payload)
        asked = self._announced
        if (tuple(answer.self_seeds), tuple(answer.mask_keys)) != (asked.survivors, asked.dropped):
            raise refusals.MessageRejectedError(
                f"client {sender} sent shares for other clients than those that were announced"
            )
        self._answers[sender] = answer

    def sums(self) -> list[np.ndarray]:
        """Closes the last step and returns the sums of the survivors' inputs.

        Returns:
          The sum of each vector, int64[length], from 0 to modulus - 1.

        Raises:
          SecureAggregationAborted: If fewer clients than the threshold answered, or the secrets
            from their shares do not match the owners' commitments and public keys.
        """
        with self._progress.taking(Step.UNMASK):
            self._check_enough(len(self._answers), "sent shares for unmasking")
            masks.apply(self._totals, self._session.vectors, self._masks_to_remove())
            return [
                modular.residues(total, vector.modulus).astype(np.int64)
                for total, vector in zip(self._totals, self._session.vectors, strict=True)
            ]

    def _masks_to_remove(self) -> Iterator[tuple[bytes, int]]:
        """Yields the seeds of the masks that are still in the sum, with signs that remove them."""
        holders = sorted(self._answers)[: self._session.threshold]
        weights = sharing.weights([point(holder) for holder in holders])
        answers = {point(holder): self._answers[holder] for holder in holders}
        for client in self._announced.survivors:
            shares = {place: answer.self_seeds[client] for place, answer in answers.items()}
            yield self._self_mask_seed(client, sharing.combine(weights, shares)), -1
        for client in self._announced.dropped:
            shares = {place: answer.mask_keys[client] for place, answer in answers.items()}
            yield from self._pair_masks(client, sharing.combine(weights, shares))

    def _self_mask_seed(self, client: int, secret: int) -> bytes:
        if keys.commitment(self._id, client, secret) != self._commitments[client]:
            raise self._wrong_shares(client)
        return keys.self_mask_seed(self._id, client, secret)

    def _pair_masks(self, dropped: int, secret: int) -> Iterator[tuple[bytes, int]]:
        key = keys.from_integer(secret)
        if keys.public(key) != self._mask_keys[dropped]:
            raise self._wrong_shares(dropped)
        for client in self._announced.survivors:
            public = self._mask_keys[client]
            seed = keys.pair_mask_seed(key, dropped, public, client, self._id)
            # The survivor applied pair_sign(client, dropped).
            yield seed, pair_sign(dropped, client)

    def _wrong_shares(self, client: int) -> refusals.SecureAggregationAborted:
        return refusals.SecureAggregationAborted(
            f"the shares of client {client}'s secret do not match its commitment or public key"
        )

    def _check_enough(self, count: int, what: str) -> None:
        if count < self._session.threshold:
            raise refusals.SecureAggregationAborted(
                f"secure aggregation: {count} clients {what}, the threshold is"
                f" {self._session.threshold}; nothing is revealed"
            )

    def _seal(self, kind: Kind, receiver: int, payload: bytes) -> bytes:
        return envelope.seal(self._identity, kind, self._id, envelope.SERVER, receiver, payload)

    def _unseal(
        self, message: bytes, kind: Kind, known: Mapping[int, object] | set[int]
    ) -> tuple[int, memoryview]:
        """Returns sender and payload of a message. A sender's second message is rejected."""
        largest = messages.largest_payload(kind, len(self._invited), self._session.vectors)
        sender, payload = envelope.unseal(
            message, self._directory, kind, self._id, envelope.SERVER, largest
        )
        if sender in known:
            raise refusals.MessageRejectedError(f"a second {kind.name} came from client {sender}")
        return sender, payload

    def _forget(self) -> None:
        self._totals, self._answers = [], {}
        self._sealed, self._commitments = {}, {}


def _addressed(sealed: Mapping[int, Mapping[int, bytes]], receiver: int) -> bytes:
    return messages.encode_sealed(
        {sender: shares[receiver] for sender, shares in sealed.items() if sender != receiver}
    )
