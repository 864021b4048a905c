"""The training program: rounds, evaluation, checkpoints, and resuming after a kill."""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp import errors
from tff_nlp.privacy import contract, contract_terms, mechanism, releases, round_traces, statement
from tff_nlp.privacy.example_level import ExampleGuarantee
from tff_nlp.privacy.guarantee import Guarantee
from tff_nlp.privacy.noise_secret import NoiseSecret
from tff_nlp.program import (
    checkpoints,
    client_states,
    metrics_log,
    privacy_log,
    progress,
    run_directory,
    tensorboard_tracker,
    trace_log,
    trackers,
)
from tff_nlp.program.run_directory import RunDirectory

State = Any  # tff.learning.templates.LearningAlgorithmState, which type checkers cannot see

_SUMS = ("num_examples", "non_finite_clients", "update_norm")


class Scores(Protocol):
    """The scores of a model on one evaluation set."""

    def columns(self, name: str) -> Mapping[str, float]:
        """Returns the numbers for metrics.csv, by column.

        Args:
          name: Name of the evaluation set.
        """


class EvaluationSet(Protocol):
    """Data on which a model is evaluated."""

    @property
    def name(self) -> str:
        """The name of the set."""

    @property
    def clients(self) -> np.ndarray | None:
        """The number of each example's client, int64[examples]; None without clients."""

    def columns(self) -> Sequence[str]:
        """Returns the names of its columns in metrics.csv."""


# (model weights, evaluation set) -> scores.
Score = Callable[[Any, Any], Scores]


@dataclasses.dataclass(frozen=True)
class TrainingProgram:
    """What to train and for how many rounds.

    Attributes:
      process: A `tff.learning.templates.LearningProcess`, or a process with the same methods and
        with client states. Such a process has `client_specs`, and its rounds also return `clients`.
      initial_state: Returns the state before the first round.
      cohort: Round number (from 0) -> positions of the clients that take part.
      client: (client position, round number from 0) -> the client's data. If the process has client
        states, the third argument is the client's state, or `client_specs` before its first round.
      score: (weights, evaluation set) -> the model's scores.
      evaluation_sets: The data sets on which the model is evaluated.
      train_means: Names of the training metrics that are means over the examples of all clients.
      headline: The column of metrics.csv that the progress line always shows.
      rounds: Total number of rounds.
      eval_every: Number of rounds between two evaluations. The last round is always evaluated.
      checkpoint_every: Number of rounds between two checkpoints. The last round always has one.
      guarantee: The differential privacy guarantee of the run; None without privacy.
      noise_secret: The secret from which the aggregator's noise derives; None without such noise.
      client_id: Client position -> client id. Client states are stored by id.
      drawn: How `cohort` and `client` draw clients and batches; None if no epsilon depends on it.
      clock: Round number -> columns of metrics.csv on the time that the round takes on the devices
        of its clients; None without such a simulation.
      auditor: What an audit needs to read the releases; None without an audit. The aggregator of
        the process must then be a `releases.ReleasingFactory`.
      show_progress: Whether to show the progress. Warnings are shown in any case.
    """

    process: Any
    initial_state: Callable[[], State]
    cohort: Callable[[int], np.ndarray]
    client: Callable[..., Any]
    score: Score
    evaluation_sets: Sequence[EvaluationSet]
    train_means: Sequence[str]
    headline: str
    rounds: int
    eval_every: int
    checkpoint_every: int
    guarantee: Guarantee | ExampleGuarantee | None = None
    noise_secret: NoiseSecret | None = None
    client_id: Callable[[int], str] = str
    drawn: contract_terms.Rounds | None = None
    auditor: trace_log.Auditor | None = None
    clock: Callable[[int], Mapping[str, float]] | None = None
    show_progress: bool = True

    def __post_init__(self) -> None:
        if self.conduct.is_private and self.drawn is None:
            raise errors.UserError(
                "drawn: must say how clients and batches are drawn, since an epsilon depends on it"
            )
        departures = contract.check(self.conduct, self.drawn)
        is_ours = hasattr(self.process, "conduct")
        if is_ours and self.guarantee is not None and not self.guarantee.violations:
            _check_promise(self.guarantee, self.conduct, self.drawn, departures)

    @property
    def conduct(self) -> contract_terms.Conduct:
        """What the process does with its clients; a process of another library claims nothing."""
        return getattr(self.process, "conduct", contract_terms.Conduct())

    def run(self, directory: RunDirectory, tracked: Sequence[trackers.Tracker] = ()) -> "Outcome":
        """Trains, and continues from the last checkpoint if there is one.

        Args:
          directory: Folder for checkpoints, metrics.csv and TensorBoard events.
          tracked: Trackers that receive the rows of metrics.csv besides TensorBoard. They stay
            open.

        Raises:
          DivergedError: If losses or weights are no longer finite. Earlier checkpoints stay.
          UserError: If the files of a resumed run are damaged or incomplete.
          WriteError: If a file cannot be written.
        """
        initial = self.initial_state()
        start = checkpoints.latest(directory.checkpoints) or 0
        state = initial
        if start:
            state = _with_leaves(
                initial,
                checkpoints.load(
                    directory.checkpoints, start, _specs(self.process), directory.identity
                ),
            )
        log = metrics_log.MetricsLog(directory.path / run_directory.METRICS, self._columns())
        log.rewind(start)
        records = self._records(directory)
        records.rewind(start)
        board = tensorboard_tracker.TensorBoard(directory.path / run_directory.TENSORBOARD)
        receivers = (board, *tracked)
        trackers.add_all(receivers, log.rows())
        scores: Mapping[str, Scores] = {}
        with progress.Progress(self.rounds, start, quiet=not self.show_progress) as shown:
            for number in range(start, self.rounds):
                began = time.monotonic()
                state, row = self._round(state, number, records)
                leaves = _finite_leaves(state, number)
                finished = number + 1 == self.rounds
                if finished or (number + 1) % self.eval_every == 0:
                    scores = self.evaluate(state)
                    for name, found in scores.items():
                        row.update(found.columns(name))
                if self.clock is not None:
                    row.update(self.clock(number))
                row["seconds"] = time.monotonic() - began
                log.append(row)
                for receiver in receivers:
                    receiver.add(row)
                if finished or (number + 1) % self.checkpoint_every == 0:
                    checkpoints.save(directory.checkpoints, number + 1, leaves, directory.identity)
                    if records.kept is not None:
                        oldest = checkpoints.rounds(directory.checkpoints)[0]
                        records.kept.forget_before(oldest)
                self._show(row, shown)
        board.close()
        privacy, traces = records.privacy, records.traces
        stated = privacy.statement() if privacy else None
        return Outcome(
            state,
            scores or self.evaluate(state),
            log.rows(),
            stated,
            traces.traces if traces else (),
        )

    def evaluate(self, state: State) -> Mapping[str, Scores]:
        """Returns the scores of a state on every evaluation set, by the name of the set."""
        weights = self.process.get_model_weights(state)
        return {s.name: self.score(weights, s) for s in self.evaluation_sets}

    def _round(
        self,
        state: State,
        number: int,
        records: "_Records",
    ) -> tuple[State, dict[str, float]]:
        clients = self.cohort(number)
        if self.noise_secret is not None:
            key = self.noise_secret.key("round", number)
            state = state._replace(aggregator=mechanism.with_key(state.aggregator, key))
        output = self._next(state, [int(c) for c in clients], number, records.kept)
        aggregator, release = releases.detach(output.metrics["aggregator"])
        aggregated = privacy_log.measurements(aggregator)
        measured = output.metrics["client_work"]["train"]
        train = {name: np.asarray(value).item() for name, value in measured.items()}
        server = output.metrics["finalizer"]
        row: dict[str, float] = {"round": number + 1, "clients": len(clients)}
        # If clients add the noise, their other reports would have none, so they report zeros.
        silent = self.conduct.aggregator.takes_keys
        if silent and int(server["update_non_finite"]):
            raise errors.DivergedError(f"round {number + 1}: the mean update is not a number (NaN)")
        if not silent:
            row.update({f"train_{name}": train[name] for name in _SUMS})
        if len(clients) and not silent:  # Poisson sampling may draw no client: there is no loss.
            _check_finite(number, len(clients), train, int(server["update_non_finite"]))
            # All clients of a round may have trained before, in one without a fixed cohort.
            if train["num_examples"]:
                row.update({f"train_{name}": train[name] for name in self.train_means})
        row["server_update_norm"] = float(server["update_norm"])
        cohort = [int(c) for c in clients]
        if records.traces and release is not None:
            records.traces.record(number + 1, cohort, release, aggregated.get("clipping_norm"))
        if records.privacy:
            released = [np.asarray(w) for w in output.state.global_model_weights.trainable]
            row.update(records.privacy.record(number + 1, cohort, aggregated, released))
        return output.state, row

    def _records(self, directory: RunDirectory) -> "_Records":
        """Returns the files to which the run adds in each round."""
        path, privacy, traces, kept = directory.path, None, None, None
        if self.guarantee is not None:
            privacy = privacy_log.PrivacyLog(path / run_directory.PRIVACY, self.guarantee)
        if self.auditor is not None:
            name = path / run_directory.PRIVATE / trace_log.NAME
            traces = trace_log.TraceLog(name, self.auditor)
        if hasattr(self.process, "client_specs"):
            folder = path / run_directory.CLIENT_STATES
            kept = client_states.ClientStates(folder, directory.identity)
        return _Records(privacy, traces, kept)

    def _next(
        self,
        state: State,
        clients: Sequence[int],
        number: int,
        kept: client_states.ClientStates | None,
    ) -> Any:
        """Computes a round. Client states are loaded before it and saved after it."""
        if kept is None:
            return self.process.next(state, [self.client(c, number) for c in clients])
        specs = self.process.client_specs
        found = [kept.load(self.client_id(c), specs) for c in clients]
        brought = [
            self.client(c, number, specs if own is None else tuple(own))
            for c, own in zip(clients, found, strict=True)
        ]
        output = self.process.next(state, brought)
        # A client that failed returned nothing. It keeps its old state.
        failed = getattr(tff.framework.get_context_stack().current, "failed_clients", ())
        present = [client for place, client in enumerate(clients) if place not in failed]
        for client, own in zip(present, output.clients, strict=True):
            kept.save(self.client_id(client), number + 1, [np.asarray(part) for part in own])
        return output

    def _columns(self) -> list[str]:
        trained = (*self.train_means, *_SUMS)
        columns = ["clients", *(f"train_{n}" for n in trained), "server_update_norm"]
        if self.guarantee is not None:
            columns += privacy_log.columns(self.guarantee)
        for evaluation_set in self.evaluation_sets:
            columns += evaluation_set.columns()
        if self.clock is not None:
            columns += self.clock(0)
        return [*columns, "seconds"]

    def _show(self, row: Mapping[str, float], shown: progress.Progress) -> None:
        if row.get("train_non_finite_clients"):
            shown.say(
                f"warning: round {row['round']}: the loss of {row['train_non_finite_clients']} of "
                f"{row['clients']} clients is not a number (NaN); they are left out"
            )
        named = {name: f"train_{name}" for name in self.train_means}
        values = {name: row[column] for name, column in named.items() if column in row}
        values |= privacy_log.shown(row)
        kept = self.headline.partition("_")[0]
        shown.advance(values, {kept: row[self.headline]} if self.headline in row else None)


@dataclasses.dataclass(frozen=True)
class _Records:
    """The files that a run writes in addition to metrics.csv. None if the run has no such file.

    Attributes:
      privacy: The privacy cost of each round.
      traces: The traces of an audit's canaries in each round.
      kept: The states of clients.
    """

    privacy: privacy_log.PrivacyLog | None
    traces: trace_log.TraceLog | None
    kept: client_states.ClientStates | None

    def rewind(self, number: int) -> None:
        """Removes the records of rounds after this one."""
        for record in (self.privacy, self.traces, self.kept):
            if record is not None:
                record.rewind(number)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of training.

    Attributes:
      state: The state after the last round.
      scores: The scores of the last evaluation, by evaluation set.
      rows: All rows of metrics.csv.
      privacy: The privacy statement of the run; None without privacy.
      traces: The traces of canaries in the releases; empty without an audit.
    """

    state: State
    scores: Mapping[str, Any]
    rows: Sequence[Mapping[str, str]]
    privacy: statement.PrivacyStatement | None = None
    traces: Sequence[round_traces.Trace] = ()


def _check_promise(
    promised: Guarantee | ExampleGuarantee,
    conduct: contract_terms.Conduct,
    drawn: contract_terms.Rounds | None,
    departures: Sequence[str],
) -> None:
    """Refuses an epsilon for something else than what the process does."""
    if departures:
        raise errors.UserError(f"guarantee: there is none: {departures[0]}")
    if isinstance(promised, ExampleGuarantee):
        if not conduct.by_example:
            raise errors.UserError("guarantee: is for examples, and the process has no DP-SGD")
        return
    mechanism = conduct.aggregator.mechanism
    if promised.mechanism != mechanism:
        raise errors.UserError(
            f"guarantee: is for `dp`={promised.mechanism}, and the process has `dp`={mechanism}"
        )
    if drawn is not None and promised.sampling != drawn.sampling:
        raise errors.UserError(
            f"guarantee: is for `sampling`={promised.sampling}, and cohorts are drawn by "
            f"`sampling`={drawn.sampling}"
        )


def _leaves(state: State) -> list[np.ndarray]:
    """Returns the arrays of a state, without the frozen weights, which never change."""
    weights = state.global_model_weights
    rest = (state.distributor, state.client_work, state.aggregator, state.finalizer)
    return [np.asarray(leaf) for leaf in tf.nest.flatten((weights.trainable, *rest))]


def _specs(process: Any) -> list[tf.TensorSpec]:
    """Returns the specs of `_leaves`. Sizes that grow with the rounds are unknown."""
    state = tff.types.type_to_tf_tensor_specs(process.initialize.type_signature.result.member)
    rest = (state.distributor, state.client_work, state.aggregator, state.finalizer)
    return tf.nest.flatten((state.global_model_weights.trainable, *rest))


def _with_leaves(state: State, leaves: Sequence[np.ndarray]) -> State:
    weights = state.global_model_weights
    rest = (state.distributor, state.client_work, state.aggregator, state.finalizer)
    packed = tf.nest.pack_sequence_as((weights.trainable, *rest), list(leaves))
    return type(state)(
        type(weights)(packed[0], weights.non_trainable), packed[1], packed[2], packed[3], packed[4]
    )


def _check_finite(
    number: int, clients: int, train: Mapping[str, float], update_non_finite: int
) -> None:
    """Raises DivergedError if a round has no usable result."""
    if train["non_finite_clients"] == clients:
        what = f"the loss of all {clients} clients is not a number (NaN)"
    elif update_non_finite or not math.isfinite(train["loss"]):
        what = "the sum of the clients' updates is not a number (NaN)"
    else:
        return
    raise errors.DivergedError(f"round {number + 1}: {what}; lower `client_learning_rate`")


def _finite_leaves(state: State, number: int) -> list[np.ndarray]:
    """Returns the arrays of a state that are saved.

    Raises:
      DivergedError: If a number in them is not finite.
    """
    leaves = _leaves(state)
    if not all(np.isfinite(leaf).all() for leaf in leaves if leaf.dtype.kind == "f"):
        raise errors.DivergedError(
            f"round {number + 1}: the weights are not numbers (NaN) any more; lower "
            "`server_learning_rate`"
        )
    return leaves
