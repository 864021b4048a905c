"""The training program: rounds, evaluation, checkpoints, and going on after a kill."""

import dataclasses
import math
import pathlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp import errors
from tff_nlp.privacy import mechanism, releases, round_traces, statement
from tff_nlp.privacy.example_level import ExampleGuarantee
from tff_nlp.privacy.guarantee import DISTRIBUTED, Guarantee
from tff_nlp.privacy.noise_secret import NoiseSecret
from tff_nlp.program import (
    checkpoints,
    evaluation,
    metrics_log,
    privacy_log,
    progress,
    run_directory,
    trace_log,
)
from tff_nlp.program.run_directory import RunDirectory

State = Any  # tff.learning.templates.LearningAlgorithmState, whose type checkers do not see
Predict = Callable[[Any], evaluation.Predict]

_MEANS = ("loss", "accuracy")
_SUMS = ("num_examples", "non_finite_clients", "update_norm")
_TRAIN = (*_MEANS, *_SUMS)
_TEST = ("accuracy", "macro_f1", "loss")
# What stands before the slash in TensorBoard's names.
_GROUP = re.compile(r"^(held_out|[a-z]+)_")
_CLIENTS = ("mean", "worst_decile", "standard_deviation")


class DivergedError(errors.RunError):
    """Training produced numbers that are not finite."""


@dataclasses.dataclass(frozen=True)
class TrainingProgram:
    """What to train and how long.

    Attributes:
      process: The federated process.
      initial_state: Makes the state of round 0.
      cohort: Round number (from 0) to the positions of the clients that take part.
      dataset: (client position, round number from 0) to the batches that the client trains on.
      predict: Weights to the function that scores token ids.
      evaluation_sets: What to score on; the one named "test" decides what is best.
      num_labels: Number of labels.
      rounds: Rounds in all.
      eval_every: Evaluation after every so many rounds, and after the last.
      checkpoint_every: Checkpoint after every so many rounds, and after the last.
      guarantee: What a run with differential privacy promises; None without.
      noise_secret: What the noise of an aggregator derives from; None where none draws any.
      auditor: How an audit reads the releases of the rounds, where the aggregator of the process is
        a `releases.ReleasingFactory`; None without.
    """

    process: tff.learning.templates.LearningProcess
    initial_state: Callable[[], State]
    cohort: Callable[[int], np.ndarray]
    dataset: Callable[[int, int], tf.data.Dataset]
    predict: Predict
    evaluation_sets: Sequence[evaluation.EvaluationSet]
    num_labels: int
    rounds: int
    eval_every: int
    checkpoint_every: int
    guarantee: Guarantee | ExampleGuarantee | None = None
    noise_secret: NoiseSecret | None = None
    auditor: trace_log.Auditor | None = None

    def run(self, directory: RunDirectory) -> "Outcome":
        """Trains, from the last checkpoint if there is one.

        Args:
          directory: Receives checkpoints, metrics.csv and TensorBoard events.

        Raises:
          DivergedError: If losses or weights are no longer finite; the checkpoints before stay.
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
        privacy = None
        if self.guarantee is not None:
            privacy = privacy_log.PrivacyLog(directory.path / run_directory.PRIVACY, self.guarantee)
            privacy.rewind(start)
        traces = None
        if self.auditor is not None:
            folder = directory.path / run_directory.PRIVATE
            traces = trace_log.TraceLog(folder / trace_log.NAME, self.auditor)
            traces.rewind(start)
        board = _TensorBoard(directory.path / run_directory.TENSORBOARD, log.rows())
        scores: dict[str, evaluation.Scores] = {}
        with progress.Progress(self.rounds, start) as shown:
            for number in range(start, self.rounds):
                began = time.monotonic()
                state, row = self._round(state, number, privacy, traces)
                leaves = _finite_leaves(state, number)
                finished = number + 1 == self.rounds
                if finished or (number + 1) % self.eval_every == 0:
                    scores = self.evaluate(state)
                    row.update(_score_columns(scores))
                row["seconds"] = time.monotonic() - began
                log.append(row)
                board.add(row)
                if finished or (number + 1) % self.checkpoint_every == 0:
                    checkpoints.save(directory.checkpoints, number + 1, leaves, directory.identity)
                _show(row, shown)
        board.close()
        stated = privacy.statement() if privacy else None
        return Outcome(
            state,
            scores or self.evaluate(state),
            log.rows(),
            stated,
            traces.traces if traces else (),
        )

    def evaluate(self, state: State) -> dict[str, evaluation.Scores]:
        """Returns the scores on every evaluation set, by name."""
        predict = self.predict(self.process.get_model_weights(state))
        return {s.name: evaluation.score(s, predict, self.num_labels) for s in self.evaluation_sets}

    def _round(
        self,
        state: State,
        number: int,
        privacy: privacy_log.PrivacyLog | None,
        traces: trace_log.TraceLog | None,
    ) -> tuple[State, dict[str, float]]:
        clients = self.cohort(number)
        if self.noise_secret is not None:
            key = self.noise_secret.key("round", number)
            state = state._replace(aggregator=mechanism.with_key(state.aggregator, key))
        output = self.process.next(state, [self.dataset(int(c), number) for c in clients])
        aggregator, release = releases.detach(output.metrics["aggregator"])
        aggregated = privacy_log.measurements(aggregator)
        measured = output.metrics["client_work"]["train"]
        train = {name: np.asarray(value).item() for name, value in measured.items()}
        server = output.metrics["finalizer"]
        row: dict[str, float] = {"round": number + 1, "clients": len(clients)}
        # Where clients add the noise, all else that they would report has none: they report zeros.
        silent = isinstance(self.guarantee, Guarantee) and self.guarantee.mechanism == DISTRIBUTED
        if silent and int(server["update_non_finite"]):
            raise DivergedError(f"round {number + 1}: the mean update is not a number (NaN)")
        if not silent:
            row.update({f"train_{name}": train[name] for name in _SUMS})
        if len(clients) and not silent:  # Poisson sampling may draw nobody, and nobody has no loss.
            _check_finite(number, len(clients), train, int(server["update_non_finite"]))
            row.update({f"train_{name}": train[name] for name in _MEANS})
        row["server_update_norm"] = float(server["update_norm"])
        cohort = [int(c) for c in clients]
        if traces and release is not None:
            traces.record(number + 1, cohort, release, aggregated.get("clipping_norm"))
        if privacy:
            released = [np.asarray(w) for w in output.state.global_model_weights.trainable]
            row.update(privacy.record(number + 1, cohort, aggregated, released))
        return output.state, row

    def _columns(self) -> list[str]:
        columns = ["clients", *(f"train_{n}" for n in _TRAIN), "server_update_norm"]
        if self.guarantee is not None:
            columns += privacy_log.columns(self.guarantee)
        for evaluation_set in self.evaluation_sets:
            columns += [f"{evaluation_set.name}_{n}" for n in _TEST]
            if evaluation_set.clients is not None:
                columns += [f"{evaluation_set.name}_{n}_accuracy" for n in _CLIENTS]
        return [*columns, "seconds"]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What training gave.

    Attributes:
      state: After the last round.
      scores: Of the last evaluation, by evaluation set.
      rows: All rows of metrics.csv.
      privacy: What the rounds may claim; None without privacy.
      traces: What the rounds' releases show of canaries; none without an audit.
    """

    state: State
    scores: Mapping[str, evaluation.Scores]
    rows: Sequence[Mapping[str, str]]
    privacy: statement.PrivacyStatement | None = None
    traces: Sequence[round_traces.Trace] = ()


def _leaves(state: State) -> list[np.ndarray]:
    """Returns the state's arrays without the frozen weights, which never change."""
    weights = state.global_model_weights
    rest = (state.distributor, state.client_work, state.aggregator, state.finalizer)
    return [np.asarray(leaf) for leaf in tf.nest.flatten((weights.trainable, *rest))]


def _specs(process: tff.learning.templates.LearningProcess) -> list[tf.TensorSpec]:
    """Returns the shapes and types of `_leaves`; sizes that grow with the rounds are unknown."""
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


def _score_columns(scores: Mapping[str, evaluation.Scores]) -> dict[str, float]:
    row = {}
    for name, score in scores.items():
        row.update({f"{name}_{n}": getattr(score, n) for n in _TEST})
        if score.clients is not None:
            row.update({f"{name}_{n}_accuracy": getattr(score.clients, n) for n in _CLIENTS})
    return row


def _check_finite(
    number: int, clients: int, train: Mapping[str, float], update_non_finite: int
) -> None:
    """Raises DivergedError if a round gave nothing that could be used."""
    if train["non_finite_clients"] == clients:
        what = f"the loss of all {clients} clients is not a number (NaN)"
    elif update_non_finite or not math.isfinite(train["loss"]):
        what = "the sum of the clients' updates is not a number (NaN)"
    else:
        return
    raise DivergedError(f"round {number + 1}: {what}; lower --client_learning_rate")


def _finite_leaves(state: State, number: int) -> list[np.ndarray]:
    """Returns the state's arrays, as they are saved.

    Raises:
      DivergedError: If a number among them is not finite.
    """
    leaves = _leaves(state)
    if not all(np.isfinite(leaf).all() for leaf in leaves if leaf.dtype.kind == "f"):
        raise DivergedError(
            f"round {number + 1}: the weights are not numbers (NaN) any more; lower "
            "--server_learning_rate"
        )
    return leaves


def _show(row: Mapping[str, float], shown: progress.Progress) -> None:
    if row.get("train_non_finite_clients"):
        shown.say(
            f"warning: round {row['round']}: the loss of {row['train_non_finite_clients']} of "
            f"{row['clients']} clients is not a number (NaN); they are left out"
        )
    values = {name: row[f"train_{name}"] for name in _MEANS if f"train_{name}" in row}
    values |= privacy_log.shown(row)
    shown.advance(values, {"test": row["test_accuracy"]} if "test_accuracy" in row else None)


class _TensorBoard:
    """TensorBoard events, written anew from metrics.csv when a run resumes."""

    def __init__(self, folder: pathlib.Path, rows: Sequence[Mapping[str, str]]) -> None:
        for old in folder.glob("events.out.*"):
            old.unlink()
        self._writer = tf.summary.create_file_writer(str(folder))
        for row in rows:
            self.add({name: float(cell) for name, cell in row.items() if cell})

    def add(self, row: Mapping[str, float]) -> None:
        with self._writer.as_default(step=int(row["round"])):
            for name, value in row.items():
                if name != "round":
                    tf.summary.scalar(_GROUP.sub(r"\1/", name), value)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
