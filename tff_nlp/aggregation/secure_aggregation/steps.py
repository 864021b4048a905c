"""The five steps of a round, and their order in the client and in the server."""

import contextlib
import enum
import threading
from collections.abc import Callable, Iterator

from tff_nlp.aggregation.secure_aggregation import refusals


class Step(enum.IntEnum):
    """A step of the protocol."""

    ADVERTISE_KEYS = 1
    SHARE_KEYS = 2
    MASKED_INPUT = 3
    CONSISTENCY_CHECK = 4
    UNMASK = 5
    FINISHED = 6
    ABORTED = 7


class Progress:
    """The next step of a client or server. Other steps are rejected, and an abort is final.

    Attributes:
      who: Name of the party, for messages.
      due: The next step.
    """

    def __init__(self, who: str, forget: Callable[[], None]) -> None:
        """Begins before the first step.

        Args:
          who: Name of the party, for messages.
          forget: Deletes the secrets of the party.
        """
        self.who, self._forget = who, forget
        self.due = Step.ADVERTISE_KEYS
        # Without a lock, two simultaneous calls could both do the same step.
        self._lock = threading.Lock()

    def expect(self, step: Step) -> None:
        """Checks that a step is the next one.

        Raises:
          SecureAggregationAborted: If the party has given up the round.
          MessageRejectedError: If the next step is another one.
        """
        if self.due == Step.ABORTED:
            raise refusals.SecureAggregationAborted(f"{self.who} has given up this round")
        if self.due != step:
            raise refusals.MessageRejectedError(
                f"{self.who} expects {self.due.name}, not {step.name}"
            )

    @contextlib.contextmanager
    def taking(self, step: Step) -> Iterator[None]:
        """The context of one step. The step is done if the block ends without an error.

        Raises:
          SecureAggregationAborted: If the block raises it. The party then deletes its secrets.
          MessageRejectedError: If the next step is another one, or the block raises it. Nothing
            changes then.
        """
        with self._lock:
            self.expect(step)
            try:
                yield
            except refusals.SecureAggregationAborted:
                self.due = Step.ABORTED
                self._forget()
                raise
            self.due = Step(step + 1)
            if self.due == Step.FINISHED:
                self._forget()
