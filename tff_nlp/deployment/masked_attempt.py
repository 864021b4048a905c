"""The coordinator's half of secure aggregation, with silos that answer in calls of their own.

The thread of the round closes one step after the other. The calls of the silos bring their messages
and wait until their step is closed; they return the message of the next step.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np

from tff_nlp import errors
from tff_nlp.aggregation.secure_aggregation import identities, refusals, server, session
from tff_nlp.aggregation.secure_aggregation.steps import Step

# What the silo's first call has instead of a step: it asks for the invitation.
INVITATION = 0


class MaskedAttempt:
    """One session of the protocol.

    Attributes:
      failed: Reason why each silo dropped out, by its position.
    """

    def __init__(
        self,
        parameters: session.Session,
        identity: identities.Identity,
        directory: identities.Directory,
    ) -> None:
        """Begins a session.

        Args:
          parameters: The session. Its clients are the positions of the silos.
          identity: The coordinator's signing key.
          directory: The public keys of all parties.
        """
        self.failed: dict[int, str] = {}
        self._server = server.Server(parameters, identity, directory)
        self._invitation = self._server.invitation()
        self._changed = threading.Condition()
        self._answered: dict[Step, set[int]] = {step: set() for step in Step}
        self._next: dict[Step, Mapping[int, bytes]] = {}
        self._aborted = ""
        self._add: dict[Step, Callable[[bytes], None]] = {
            Step.ADVERTISE_KEYS: self._server.add_advertised_keys,
            Step.SHARE_KEYS: self._server.add_shared_keys,
            Step.MASKED_INPUT: self._server.add_masked_input,
            Step.CONSISTENCY_CHECK: self._server.add_consistency_signature,
            Step.UNMASK: self._server.add_unmask_shares,
        }

    def add(self, client: int, step: Step, message: bytes) -> None:
        """Takes a silo's message.

        Raises:
          MessageRejectedError: If the message is not the one that is expected.
          SecureAggregationAborted: If the session was given up.
        """
        with self._changed:
            self._check()
            if client in self.failed:
                raise refusals.MessageRejectedError(f"silo {client} has dropped out of the round")
            self._add[step](message)
            self._answered[step].add(client)
            self._changed.notify_all()

    def answer(self, client: int, step: int, active: Callable[[], bool]) -> bytes:
        """Waits until a step is closed, and returns the message of the next step for a silo.

        Args:
          client: Position of the silo.
          step: The step of the silo's own message; `INVITATION` for the first message.
          active: Whether the silo still waits.

        Raises:
          SecureAggregationAborted: If the session was given up, or the silo does not wait.
        """
        if step == INVITATION:
            return self._invitation
        with self._changed:
            while Step(step) not in self._next:
                self._check()
                if not active():
                    raise refusals.SecureAggregationAborted(f"silo {client} is gone")
                self._changed.wait(0.5)
            found = self._next[Step(step)].get(client)
        if found is None:
            raise refusals.SecureAggregationAborted(f"silo {client} has dropped out of the round")
        return found

    def drop(self, client: int, why: str) -> None:
        """Goes on without a silo."""
        with self._changed:
            self.failed.setdefault(client, why)
            self._changed.notify_all()

    def abort(self, why: str) -> None:
        """Gives the session up. Nothing is revealed if the last step is not closed."""
        with self._changed:
            self._aborted = self._aborted or why
            self._changed.notify_all()

    def run(
        self, invited: Sequence[int], fewest: int, key_seconds: float, ends: float
    ) -> list[np.ndarray]:
        """Closes the steps, and returns the sums.

        Args:
          invited: Positions of the silos.
          fewest: Number of inputs that the sum must have. With fewer, nothing is unmasked: a sum
            that is not used must not be revealed, because a second sum of the round would be.
          key_seconds: Seconds for each step that needs no training.
          ends: When the inputs must be there, in seconds of `time.monotonic`.

        Raises:
          SecureAggregationAborted: If too few silos answer.
        """
        try:
            return self._run(invited, fewest, key_seconds, ends)
        except refusals.SecureAggregationAborted as error:
            self.abort(errors.message(error))
            raise

    def _run(
        self, invited: Sequence[int], fewest: int, key_seconds: float, ends: float
    ) -> list[np.ndarray]:
        def soon() -> float:
            return time.monotonic() + key_seconds

        with self._closing(Step.ADVERTISE_KEYS, invited, soon()) as there:
            roster = self._server.roster()
            self._next[Step.ADVERTISE_KEYS] = dict.fromkeys(there, roster)
        with self._closing(Step.SHARE_KEYS, there, soon()) as sharing:
            self._next[Step.SHARE_KEYS] = dict(self._server.forwarded_shares())
        with self._closing(Step.MASKED_INPUT, sharing, ends) as survivors:
            if len(survivors) < fewest:
                raise refusals.SecureAggregationAborted(self._too_few(survivors, fewest))
            announcement = self._server.announcement()
            self._next[Step.MASKED_INPUT] = dict.fromkeys(survivors, announcement)
        with self._closing(Step.CONSISTENCY_CHECK, survivors, soon()) as signing:
            signatures = self._server.signatures()
            self._next[Step.CONSISTENCY_CHECK] = dict.fromkeys(signing, signatures)
        with self._closing(Step.UNMASK, signing, soon()) as answering:
            sums = self._server.sums()
            self._next[Step.UNMASK] = dict.fromkeys(answering, b"")
        return sums

    @property
    def survivors(self) -> tuple[int, ...]:
        """Positions of the silos with an input in the sum, ascending."""
        return self._server.survivors

    @contextlib.contextmanager
    def _closing(self, step: Step, expected: Collection[int], ends: float) -> Iterator[set[int]]:
        """Waits for the messages of a step, and yields the silos that sent theirs."""
        with self._changed:
            while True:
                self._check()
                missing = set(expected) - self._answered[step] - self.failed.keys()
                left = ends - time.monotonic()
                if not missing or left <= 0:
                    break
                self._changed.wait(min(left, 0.5))
            for client in missing:
                self.failed[client] = f"sent no answer to step {step.name} in time"
            yield self._answered[step]
            self._changed.notify_all()

    def _too_few(self, survivors: Collection[int], fewest: int) -> str:
        reasons = "; ".join(sorted(set(self.failed.values())))
        return (
            f"{len(survivors)} silos sent an input, and {fewest} are needed; nothing is revealed "
            f"({reasons})"
        )

    def _check(self) -> None:
        if self._aborted:
            raise refusals.SecureAggregationAborted(self._aborted)
