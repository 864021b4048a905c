"""An execution context whose clients are silos on other machines.

The coordinator compiles a round once, sends the broadcast to the silos, and adds up the updates
that they bring, in the order of their names. That is the order of a streaming context with one
lane, so both give the same bits.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp import errors
from tff_nlp.aggregation.secure_aggregation import (
    demands,
    envelope,
    identities,
    messages,
    refusals,
    session,
)
from tff_nlp.aggregation.secure_aggregation.envelope import Kind
from tff_nlp.deployment import attempt as attempts
from tff_nlp.deployment import certificates, masked_attempt, participation, service, wire_form
from tff_nlp.deployment import federation_pb2 as pb
from tff_nlp.execution import form_context, forms, graphs, lane_runs, secure_sums

# Seconds between two attempts of a round.
_PAUSE_SECONDS = 1.0


@dataclasses.dataclass(frozen=True)
class RemoteClient:
    """A silo's place in a round, instead of its data.

    Attributes:
      name: Name of the silo.
      round: The round, from 0.
    """

    name: str
    round: int


@dataclasses.dataclass(frozen=True)
class Patience:
    """How long the coordinator waits.

    Attributes:
      round_seconds: For the updates of a round, and for silos that are away before a round.
      key_seconds: For each step of secure aggregation that needs no training.
    """

    round_seconds: float
    key_seconds: float = 60.0


@dataclasses.dataclass(frozen=True)
class Masking:
    """Secure aggregation of a federation.

    Attributes:
      credentials: The coordinator's credentials.
      threshold: Number of silos that must answer in each step; None for the smallest one.
      demanded: What the coordinator expects silos to demand.
    """

    credentials: certificates.Credentials
    threshold: int | None
    demanded: demands.Demands

    def least(self, cohort: int) -> int:
        """Returns the number of silos that must answer in each step, for a size of a round."""
        return self.threshold or self.demanded.least_threshold(cohort)


class SiloContext(form_context.FormContext):
    """Runs TFF computations, with the clients of a round on silos.

    Attributes:
      service: The connections.
      attendance: The silos that are there.
      positions: Place of each silo among the sorted names of all silos.
      patience: How long to wait.
      masking: Secure aggregation; None without it.
      record: Which silos took part in which round.
      say: Function that shows a line: a word and a marked text.
      aborted: Number of attempts that ended without a sum.
    """

    # One client after another is added, as by one lane.
    devices = ("/CPU:0",)

    def __init__(
        self,
        connections: service.Service,
        record: participation.Participation,
        say: Callable[[str, str], None],
        patience: Patience,
        *,
        masking: Masking | None = None,
        max_failed_clients: int = 0,
    ) -> None:
        """Initializes the context.

        Args:
          connections: The connections.
          record: Which silos took part in which round.
          say: Function that shows a line.
          patience: How long to wait.
          masking: Secure aggregation; None without it.
          max_failed_clients: How many silos of a round may fail. With more, the round is aborted
            and tried again.
        """
        super().__init__(max_failed_clients=max_failed_clients)
        self.service, self.patience, self.masking = connections, patience, masking
        self.attendance = connections.attendance
        self.positions = {name: place for place, name in enumerate(self.attendance.names)}
        self.record, self.say, self.aborted = record, say, 0

    def cohort(
        self, form: forms.RoundForm, summands: Sequence[secure_sums.Summand]
    ) -> form_context.Cohort:
        """Returns the object that runs a round on silos."""
        return _SiloCohort(self, form, summands)

    def flatten_client(self, position: int, client: Any, form: forms.RoundForm) -> list[Any]:
        """Returns the place of a silo. Its data stay where they are."""
        return [client]


class _SiloCohort:
    """Runs the clients of a form on silos."""

    def __init__(
        self, context: SiloContext, form: forms.RoundForm, summands: Sequence[secure_sums.Summand]
    ) -> None:
        self._context, self._form, self._summands = context, form, summands
        self._zero, self._accumulate = graphs.wrap(form.zero), graphs.wrap(form.accumulate)
        self._specs, self._places = wire_form.update_specs(form), wire_form.sent_places(form)
        self._fetched = wire_form.broadcast_places(form)

    def __call__(
        self, data: Sequence[list[Any]], costs: Sequence[int], broadcast: list[tf.Tensor]
    ) -> lane_runs.Sums:
        """Runs a round, again and again until enough silos have taken part."""
        clients: list[RemoteClient] = [client for (client,) in data]
        if not clients:  # Poisson sampling may draw no silo.
            return lane_runs.Sums(self._zero([]), secure_sums.zero(self._summands), {})
        sent = [np.asarray(broadcast[place]) for place in self._fetched]
        while True:
            sums = self._attempt(clients, sent)
            if sums is not None:
                return sums

    def _attempt(
        self, clients: Sequence[RemoteClient], broadcast: Sequence[np.ndarray]
    ) -> lane_runs.Sums | None:
        """Runs a round once. Returns None if too few silos took part."""
        context = self._context
        names, number = [client.name for client in clients], clients[0].round + 1
        enough = max(len(names) - context.max_failed_clients, self._threshold(len(names)))
        there = context.attendance.wait(names, enough, context.patience.round_seconds)
        masked = self._masked(there, len(names))
        current = attempts.Attempt(
            number, there, broadcast, self._terms(masked, len(names)), masked, context.positions
        )
        self._begin(current)
        try:
            sums, why = self._sums(current, len(names)), ""
        except refusals.SecureAggregationAborted as error:
            sums, why = None, errors.message(error)
        finally:
            context.attendance.greet_with(lambda _: None)
            context.service.set_attempt(None)
        missing = {name: "is away" for name in names if name not in there} | current.failures
        if sums is None or len(missing) > context.max_failed_clients:
            reasons = [f"{name} {errors.verbatim(reason)}" for name, reason in missing.items()]
            self._abort(current, why or "; ".join(reasons))
            return None
        current.close("it is finished")
        context.note_failures(
            [
                lane_runs.ClientError(place, f"{name} {errors.verbatim(missing[name])}")
                for place, name in enumerate(names)
                if name in missing
            ]
        )
        context.record.add(number, [name for name in names if name not in missing])
        return sums

    def _begin(self, current: attempts.Attempt) -> None:
        """Gives the silos their task, also those that come back in the middle of the round."""
        context = self._context
        context.service.set_attempt(current)

        def greet(name: str) -> pb.Task | None:
            # A silo that comes back has lost the secrets of its session.
            if current.masked is None and current.expects(name):
                return self._task(current, name)
            return None

        context.attendance.greet_with(greet)
        context.attendance.send(current.members, lambda name: self._task(current, name))

    def _abort(self, current: attempts.Attempt, reason: str) -> None:
        current.close(reason)
        context = self._context
        context.aborted += 1
        context.say("aborted", f"round {current.number}: {reason}; it is tried again")
        ended = pb.Attempt(round=current.number, attempt=current.id)
        plain = errors.without_marks(reason)[:300]
        context.attendance.send(
            current.members,
            lambda _: pb.Task(kind=pb.Task.ABORTED, attempt=ended, reason=plain),
        )
        # A silo that refuses at once would otherwise be asked without a pause.
        time.sleep(_PAUSE_SECONDS)

    def _sums(self, current: attempts.Attempt, cohort: int) -> lane_runs.Sums:
        secure: list[tf.Tensor] = []
        if current.masked is not None:
            secure = self._secure_sums(current, current.masked, cohort)
        accumulator = self._zero([])
        for _, update in current.updates():
            accumulator = self._accumulate([*accumulator, *self._whole(update)])
        return lane_runs.Sums(accumulator, secure, {})

    def _secure_sums(
        self, current: attempts.Attempt, masked: masked_attempt.MaskedAttempt, cohort: int
    ) -> list[tf.Tensor]:
        """Runs the session, and leaves out the silos whose inputs are not in the sum."""
        invited = {self._context.positions[name]: name for name in current.members}

        class Session:
            def add_input(self, client: int, tensors: Sequence[np.ndarray]) -> None:
                raise NotImplementedError("silos bring their inputs themselves")

            def finish(self) -> Sequence[np.ndarray]:
                seconds = context.patience.key_seconds
                fewest = cohort - context.max_failed_clients
                return masked.run(tuple(invited), fewest, seconds, current.ends)

        context = self._context
        sums = secure_sums.HiddenSums(self._summands, range(cohort), lambda *_: Session()).finish()
        for client, name in invited.items():
            if client not in masked.survivors:
                current.fail(name, masked.failed.get(client, "sent no input"))
        return sums

    def _whole(self, sent: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Returns an update with zeros in place of what stays at the silo."""
        given = dict(zip(self._places, sent, strict=True))
        return [
            given[place] if place in given else tf.zeros(spec.shape, spec.dtype)
            for place, spec in enumerate(self._specs)
        ]

    def _task(self, current: attempts.Attempt, name: str) -> pb.Task:
        return current.task(self._context.record.last(name))

    def _masked(self, members: Sequence[str], cohort: int) -> masked_attempt.MaskedAttempt | None:
        context, masking = self._context, self._context.masking
        if not self._summands:
            return None
        if masking is None:
            raise errors.UserError(
                "`secure_aggregation`=plain: only simulates secure sums; take masked"
            )
        ids = [context.positions[name] for name in members]
        vectors = wire_form.vectors(self._summands, cohort)
        own = masking.credentials
        return masked_attempt.MaskedAttempt(
            session.new(ids, vectors, self._threshold(cohort)),
            identities.Identity(own.signing_key),
            directory(own.members),
        )

    def _threshold(self, cohort: int) -> int:
        """Returns the smallest number of silos with which a round can end."""
        masking = self._context.masking
        if masking is None or not self._summands:
            return 1
        return masking.least(cohort)

    def _terms(self, masked: masked_attempt.MaskedAttempt | None, cohort: int) -> attempts.Terms:
        vectors = wire_form.vectors(self._summands, cohort)
        largest = messages.largest_payload(Kind.MASKED_INPUT, cohort, vectors)
        return attempts.Terms(
            update_specs=[self._specs[place] for place in self._places],
            masked_bytes=0 if masked is None else largest + envelope.BYTES,
            seconds=self._context.patience.round_seconds,
        )


def directory(members: certificates.Members) -> identities.Directory:
    """Returns the directory of secure aggregation, with the silos by their positions."""
    keys = {place: members.silos[name] for place, name in enumerate(members.names)}
    return identities.Directory(members.coordinator, keys)
