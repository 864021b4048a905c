"""A silo's part in a federation: it waits for tasks, computes, and sends what the plan says."""

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import cancellation

from tff_nlp import errors
from tff_nlp.aggregation.secure_aggregation import client as clients
from tff_nlp.aggregation.secure_aggregation import identities, refusals
from tff_nlp.aggregation.secure_aggregation.steps import Step
from tff_nlp.deployment import (
    certificates,
    connection,
    pieces,
    policy,
    sent_log,
    silo_context,
    silo_work,
    wire_form,
)
from tff_nlp.deployment import federation_pb2 as pb
from tff_nlp.deployment.plan import Plan

# How long another process may hold the silo's place before this one gives up. The coordinator
# notices a cut connection after about half a minute.
_TAKEN_SECONDS = 40.0


class Silo:
    """A silo that takes part in a federation.

    Attributes:
      rounds: Number of rounds for which an update was sent by this process.
      last_round: The last of them; 0 for none.
      connected: Whether the coordinator is reached.
    """

    def __init__(
        self,
        link: connection.Connection,
        credentials: certificates.Credentials,
        plan: Plan,
        limits: policy.Policy,
        computation: silo_work.Computation,
        log: sent_log.SentLog,
        say: Callable[[str, str], None],
    ) -> None:
        """Initializes the silo.

        Args:
          link: The connection.
          credentials: The silo's credentials.
          plan: The approved plan.
          limits: The limits of the operator.
          computation: What it computes.
          log: Its record of what it has sent.
          say: Function that shows a line: a word and a marked text (`errors`).
        """
        self.rounds, self.last_round, self.connected = 0, 0, False
        self._link, self._credentials, self._plan = link, credentials, plan
        self._limits, self._computation, self._log, self._say = limits, computation, log, say
        self._digest = plan.digest
        self._process = os.urandom(16)
        self._position = plan.silos.index(credentials.name)
        self._running: tuple[bytes, cancellation.CancellationManager] | None = None
        self._refusal: errors.UserError | errors.RunError | None = None

    def take_part(self, patience: float) -> None:
        """Takes part until the federation is finished.

        Args:
          patience: Seconds after which the silo gives up if the coordinator is away.

        Raises:
          UserError: If the coordinator refuses the silo.
          RunError: If the coordinator stays away.
        """
        away_since, taken_since = time.monotonic(), time.monotonic()
        for number in connection.again():
            try:
                for task in self._link.attend(self._digest, self._process):
                    if not self.connected:
                        self._say("joined", f"{self._link.address} as {self._credentials.name}")
                        self.connected = True
                    away_since = taken_since = time.monotonic()
                    if task.kind == pb.Task.FINISHED:
                        self._stop()
                        return
                    self._begin(task)
                    self._raise_refusal()
            except connection.TakenError as error:
                if time.monotonic() - taken_since > _TAKEN_SECONDS:
                    raise errors.UserError(errors.message(error)) from error
                self._note_away(error, number)
            except connection.AwayError as error:
                self._raise_refusal()
                if time.monotonic() - away_since > patience:
                    raise
                self._note_away(error, number)
            self._raise_refusal()

    def _note_away(self, error: errors.RunError, number: int) -> None:
        if self.connected or not number:
            self._say("waiting", f"{errors.message(error)}; it is tried again")
        self.connected = False

    def _begin(self, task: pb.Task) -> None:
        if task.kind == pb.Task.ABORTED:
            self._stop()
            self._say("aborted", f"round {task.attempt.round}: {errors.verbatim(task.reason)}")
        if task.kind != pb.Task.TRAIN:
            return
        if self._running is not None and self._running[0] == task.attempt.attempt:
            return  # The connection was cut, and the work goes on.
        self._stop()
        manager = cancellation.CancellationManager()
        self._running = (task.attempt.attempt, manager)
        threading.Thread(target=self._work, args=(task, manager), daemon=True).start()

    def _stop(self) -> None:
        if self._running is not None:
            self._running[1].start_cancel()
        self._running = None

    def _raise_refusal(self) -> None:
        if self._refusal is not None:
            raise self._refusal

    def _work(self, task: pb.Task, stop: cancellation.CancellationManager) -> None:
        """Does a task, in a thread of its own."""
        number, began = task.attempt.round, time.monotonic()
        try:
            self._check(task)
            self._train(task, stop, began + task.seconds)
        except (connection.RoundOverError, connection.AwayError) as error:
            if not stop.is_cancelled:
                self._say("left out", f"round {number}: {errors.message(error)}")
            self._forget(task)
            return
        except (errors.UserError, errors.WriteError) as error:
            self._give_up(task, f"stops: {errors.without_marks(errors.message(error))}")
            self._refusal = error
            self._link.hang_up()
            return
        except (
            pieces.DamagedError,
            refusals.SecureAggregationAborted,
            refusals.MessageRejectedError,
        ) as error:
            self._give_up(task, errors.without_marks(errors.message(error)))
            return
        except tf.errors.OpError as error:
            if stop.is_cancelled:
                return
            # Messages of TensorFlow may quote data.
            self._say("failed", f"round {number}: {errors.verbatim(error.message[:300])}")
            self._give_up(task, f"its computation failed ({type(error).__name__})")
            return
        except Exception as error:  # A fault of this software must not keep the others waiting.
            self._give_up(task, f"its software failed ({type(error).__name__})")
            raise
        self.rounds, self.last_round = self.rounds + 1, number
        seconds = time.monotonic() - began
        self._say("round", f"{number} of {self._plan.rounds}: sent after {seconds:.1f} s")

    def _forget(self, task: pb.Task) -> None:
        """Makes the same attempt possible again, after a cut connection."""
        if self._running is not None and self._running[0] == task.attempt.attempt:
            self._running = None

    def _give_up(self, task: pb.Task, reason: str) -> None:
        number = task.attempt.round
        with contextlib.suppress(errors.WriteError):
            self._log.add("refusal", round=number, reason=reason)
        self._say("refused", f"round {number}: {errors.verbatim(reason)}")
        try:
            self._link.report(pb.Failure(attempt=task.attempt, reason=reason))
        except (connection.RoundOverError, connection.AwayError):
            return

    def _check(self, task: pb.Task) -> None:
        """Refuses a round that the approved plan does not have.

        Raises:
          UserError: If it is refused.
        """
        number, weights = task.attempt.round, task.digest.hex()
        if not 1 <= number <= self._plan.rounds:
            raise errors.UserError(
                f"`coordinator`: asks for round {number}; approved are {self._plan.rounds}"
            )
        answered = {w for n, w in self._log.updates(self._digest.hex()) if n == number}
        if answered and weights not in answered:
            raise errors.UserError(
                f"`coordinator`: asks for round {number} again with other weights. An update for "
                "each would reveal more than was approved. The coordinator must go on from its "
                "checkpoint"
            )

    def _train(self, task: pb.Task, stop: cancellation.CancellationManager, ends: float) -> None:
        fetched = self._fetch(task, ends)
        member = None
        if self._computation.summands:
            member = self._open_session(task, ends)
        plain, secure = self._computation(task.attempt.round, task.taken, fetched, stop)
        if member is None:
            self._send(task, list(pieces.encode(plain)), "update", ends)
            return
        session, forwarded = member
        tensors = [np.ravel(tensor.numpy()) for tensor in secure]
        message = session.masked_input(forwarded, tensors)
        content = [*pieces.encode(plain), *pieces.encode([np.frombuffer(message, np.uint8)])]
        self._send(task, content, "masked update", ends)
        self._close_session(task, session, ends)

    def _fetch(self, task: pb.Task, ends: float) -> list[tf.Tensor]:
        specs = self._computation.fetched_specs
        content = (piece.content for piece in self._link.fetch(task.attempt, _left(ends)))
        found = pieces.collect(content, sum(pieces.sizes(specs)), task.digest)
        return pieces.decode(found, specs)

    def _send(self, task: pb.Task, content: Sequence[bytes], what: str, ends: float) -> None:
        digest = hashlib.sha256()
        for piece in content:
            digest.update(piece)
        self._log.add(
            what,
            plan=self._digest.hex(),
            round=task.attempt.round,
            weights=task.digest.hex(),
            bytes=sum(map(len, content)),
            sha256=digest.hexdigest(),
        )
        self._link.upload(_as_pieces(task.attempt, content, digest.digest()), _left(ends))

    def _open_session(self, task: pb.Task, ends: float) -> tuple[clients.Client, bytes]:
        """Runs the steps that need no input, and returns the session and the peers' shares."""
        summands = self._computation.summands
        cohort = int(self._plan.settings["clients_per_round"])
        invitation = self._exchange(task, 0, b"", ends)
        session = clients.Client(
            invitation,
            self._position,
            identities.Identity(self._credentials.signing_key),
            silo_context.directory(self._credentials.members),
            self._limits.demands(self._plan.threshold),
        )
        if session.session.threshold < self._plan.threshold:
            raise errors.UserError(
                f"`coordinator`: asks for a sum of {session.session.threshold} silos; approved are "
                f"{self._plan.threshold}"
            )
        if list(session.session.vectors) != wire_form.vectors(summands, cohort):
            raise errors.UserError("`coordinator`: asks for other vectors than the computation has")
        roster = self._exchange(task, Step.ADVERTISE_KEYS, session.advertise_keys(), ends)
        forwarded = self._exchange(task, Step.SHARE_KEYS, session.share_keys(roster), ends)
        return session, forwarded

    def _close_session(self, task: pb.Task, session: clients.Client, ends: float) -> None:
        announcement = self._exchange(task, Step.MASKED_INPUT, b"", ends)
        signature = session.check_consistency(announcement)
        number, silos = task.attempt.round, session.survivors
        others = self._log.unmasked(self._digest.hex(), number) - {silos}
        if others:
            # The difference of two sums of one round would reveal single updates.
            names = [self._plan.silos[place] for place in sorted(others)[0]]
            raise refusals.SecureAggregationAborted(
                f"round {number} was unmasked before, with {', '.join(names)}; it can only be "
                "repeated with the same silos"
            )
        signatures = self._exchange(task, Step.CONSISTENCY_CHECK, signature, ends)
        answer = session.unmask(signatures)
        self._log.add("unmasking", plan=self._digest.hex(), round=number, silos=list(silos))
        self._exchange(task, Step.UNMASK, answer, ends)

    def _exchange(self, task: pb.Task, step: int, message: bytes, ends: float) -> bytes:
        sent = pb.Step(attempt=task.attempt, step=int(step), message=message)
        return self._link.exchange(sent, _left(ends) + _GRACE_SECONDS)


# The coordinator ends late rounds. A silo waits a little longer, to hear of it.
_GRACE_SECONDS = 60.0


def _left(ends: float) -> float:
    return max(ends - time.monotonic(), 1.0)


def _as_pieces(attempt: pb.Attempt, content: Sequence[bytes], digest: bytes) -> Iterator[pb.Piece]:
    yield pb.Piece(attempt=attempt)
    for piece in content:
        yield pb.Piece(content=piece)
    yield pb.Piece(digest=digest)
