"""The part of a central run that needs TensorFlow: plain Keras `fit` on all texts."""

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp import errors, seeds, silence_libraries
from tff_nlp.clients import client_data, partitions
from tff_nlp.execution import contexts
from tff_nlp.learning import local_training
from tff_nlp.program import metrics_log, progress, run_directory, trackers, training
from tff_nlp.runs import (
    configs,
    data,
    keras_objectives,
    learners,
    outcome,
    reporter,
    result,
    tracking,
    user_folders,
)
from tff_nlp.runs.learner import Learner
from tff_nlp.tasks import task as tasks


def train(
    run: configs.CentralRun,
    texts: data.Data,
    directory: run_directory.RunDirectory,
    config: Mapping[str, Any],
    began: float,
    *,
    keeps_model: bool = True,
) -> None:
    """Trains and writes the results.

    Args:
      run: The configuration.
      texts: The corpora.
      directory: Directory of the run. Nothing is written before model and data are built.
      config: The configuration to record.
      began: Start time of the program, from `time.monotonic`.
      keeps_model: Whether the trained model is written.

    Raises:
      UserError: If a flag or a file is wrong.
      RunError: If training diverges.
    """
    silence_libraries.import_keras_nlp()
    # There are no rounds, but TFF's default context would print an error when Python exits.
    contexts.install("streaming")
    tf.keras.utils.set_random_seed(seeds.derive(run.central.seed, "keras") & 0x7FFFFFFF)
    learner = learners.build(
        run.corpus.task,
        texts.train,
        run.model,
        user_folders.cache_dir(run.place.cache_dir),
        seed=run.central.seed,
    )
    reporter.say("model", [learner.describe()])
    token_reports = {
        "train": learner.report_tokens(texts.train),
        "test": learner.report_tokens(texts.test),
    }
    reporter.say("tokens", token_reports["train"].lines())
    objective = learner.keras_objective()
    epochs = _datasets(run, texts, learner, objective)
    test = learner.evaluation_set("test", texts.test)
    directory.begin()
    with tracking.opened(run.tracking, directory, config) as tracked:
        rows, scores = _fit(run, learner, objective, epochs, test, directory, tracked)
        outcome.write(
            directory,
            training.Outcome(None, {"test": scores}, rows),
            result.facts_of(
                run,
                texts,
                learner,
                token_reports,
                config=config,
                began=began,
                weights=_weights(learner),
            ),
            tracked,
            keeps_model=keeps_model,
        )


def _datasets(
    run: configs.CentralRun,
    texts: data.Data,
    learner: Learner,
    objective: keras_objectives.Objective,
) -> list[tf.data.Dataset]:
    """Returns a data set for each epoch."""
    holder = client_data.TokenClientData(
        learner.tokens(texts.train),
        learner.targets(texts.train),
        partitions.build(texts.train, "iid", run.central.seed, num_clients=1),
        pad_id=learner.model.tokenizer.pad_id,
        batch_size=run.training.batch_size,
    )
    return [
        holder.round_dataset(0, seeds.derive(run.central.seed, "order", epoch)).map(objective.batch)
        for epoch in range(run.central.epochs)
    ]


def _fit(
    run: configs.CentralRun,
    learner: Learner,
    objective: keras_objectives.Objective,
    epochs: Sequence[tf.data.Dataset],
    test: Any,
    directory: run_directory.RunDirectory,
    tracked: Sequence[trackers.Tracker],
) -> tuple[list[dict[str, str]], tasks.Scores]:
    """Trains all parts of all epochs. Returns the rows of metrics.csv and the last scores."""
    model, headline = learner.model, learner.task.report.headline
    model.keras_model.compile(
        _optimizer(run, model, sum(int(dataset.cardinality()) for dataset in epochs)),
        objective.loss,
        list(objective.metrics),
    )
    trained = ("loss", *learner.task.metrics)
    columns = ("epoch", *(f"train_{name}" for name in trained), *test.columns(), "seconds")
    log = metrics_log.MetricsLog(directory.path / run_directory.METRICS, columns)
    log.rewind(0)
    parts = _parts(epochs, run.central.evals_per_epoch)
    with progress.Progress(len(parts), 0, "part") as shown:
        for number, (epoch, part) in enumerate(parts):
            began = time.monotonic()
            measured = _fit_part(model, objective, part, epoch)
            scores = learner.task.score_set(_weights(learner), test)
            row = {
                "round": number + 1,
                "epoch": epoch,
                **{f"train_{name}": measured[name] for name in trained},
                **scores.columns("test"),
                "seconds": time.monotonic() - began,
            }
            log.append(row)
            for tracker in tracked:
                tracker.add(row)
            shown.advance(measured, {"test": scores.columns("test")[f"test_{headline}"]})
    return log.rows(), scores


def _parts(epochs: Sequence[tf.data.Dataset], wanted: int) -> list[tuple[float, tf.data.Dataset]]:
    """Returns the parts between evaluations: epochs passed at the end of a part, and its data."""
    parts = []
    for epoch, dataset in enumerate(epochs):
        count = int(dataset.cardinality())
        pieces = min(wanted, count)
        for piece in range(pieces):
            first, last = count * piece // pieces, count * (piece + 1) // pieces
            passed = epoch + (piece + 1) / pieces
            parts.append((passed, dataset.skip(first).take(last - first)))
    return parts


def _fit_part(
    model: Any, objective: keras_objectives.Objective, part: tf.data.Dataset, epoch: float
) -> dict[str, float]:
    """Trains on a part and returns the loss and the metrics.

    Raises:
      DivergedError: If the loss is not finite.
    """
    history = model.keras_model.fit(part, verbose=0).history
    measured = objective.read({name: values[0] for name, values in history.items()})
    if not math.isfinite(measured["loss"]):
        raise errors.DivergedError(
            f"epoch {math.ceil(epoch)}: the loss is not a number (NaN); lower "
            "`client_learning_rate`"
        )
    return measured


def _optimizer(run: configs.CentralRun, model: Any, steps: int) -> Any:
    """Returns the Keras optimizer of the configuration.

    Args:
      run: The configuration.
      model: The model.
      steps: Number of steps of the whole training.
    """
    flags = run.training
    rate = _Schedule(
        flags.known_learning_rate(),
        int(run.central.warmup_fraction * steps),
        steps if run.central.decay_learning_rate else None,
    )
    if flags.client_optimizer == "sgd":
        return tf.keras.optimizers.SGD(
            rate, flags.client_momentum, global_clipnorm=flags.client_clip_norm
        )
    optimizer = tf.keras.optimizers.AdamW(
        rate, flags.client_weight_decay, global_clipnorm=flags.client_clip_norm
    )
    variables = model.keras_model.trainable_variables
    optimizer.exclude_from_weight_decay(
        [
            variable
            for variable, name in zip(variables, model.trainable_names, strict=True)
            if not local_training.is_decayed(name)
        ]
    )
    return optimizer


def _weights(learner: Learner) -> tff.learning.models.ModelWeights:
    """Returns the weights of the Keras model now."""
    return tff.learning.models.ModelWeights(*learner.model.initial_weights())


class _Schedule(tf.keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then constant or linear decay to zero, over steps."""

    def __init__(self, rate: float, warmup: int, total: int | None) -> None:
        self._rate, self._warmup, self._total = rate, warmup, total

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        position = tf.cast(step, tf.float32)
        factor = tf.minimum(1.0, (position + 1.0) / (self._warmup + 1.0))
        if self._total is not None:
            remaining = (self._total - position) / max(self._total - self._warmup, 1)
            factor = tf.minimum(factor, tf.maximum(remaining, 0.0))
        return self._rate * factor

    def get_config(self) -> Mapping[str, Any]:
        return {"rate": self._rate, "warmup": self._warmup, "total": self._total}
