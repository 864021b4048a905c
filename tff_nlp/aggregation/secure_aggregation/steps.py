"""The five steps of a round, and the order that both halves keep."""

import contextlib
import enum
import threading
from collections.abc import Callable, Iterator

from tff_nlp.aggregation.secure_aggregation import refusals


class Step(enum.IntEnum):
    """A step of the protocol; a half stands in the one that comes next."""

    ADVERTISE_KEYS = 1
    SHARE_KEYS = 2
    MASKED_INPUT = 3
    CONSISTENCY_CHECK = 4
    UNMASK = 5
    FINISHED = 6
    ABORTED = 7


class Progress:
    """Where a half stands; what is not due is rejected, and an aborted round stays aborted."""

    def __init__(self, who: str, forget: Callable[[], None]) -> None:
        """Stands before the first step.

        Args:
          who: The half's name, for messages.
          forget: Drops its secrets.
        """
        self.who, self._forget = who, forget
        self.due = Step.ADVERTISE_KEYS
        # Two calls at once would both find the step due, and answer it twice.
        self._lock = threading.Lock()

    def expect(self, step: Step) -> None:
        """Checks that a step is due.

        Raises:
          SecureAggregationAborted: If the half has given up the round.
          MessageRejectedError: If another step is due.
        """
        if self.due == Step.ABORTED:
            raise refusals.SecureAggregationAborted(f"{self.who} has given up this round")
        if self.due != step:
            raise refusals.MessageRejectedError(
                f"{self.who} is at {self.due.name}: {step.name} is not due"
            )

    @contextlib.contextmanager
    def taking(self, step: Step) -> Iterator[None]:
        """Does a step: it counts as done if the block ends without an error.

        Raises:
          SecureAggregationAborted: If the block does; the secrets are forgotten.
          MessageRejectedError: If another step is due, or the block does; nothing changes.
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
