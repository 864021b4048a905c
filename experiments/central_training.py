"""The part of a central run that needs TensorFlow: plain Keras `fit` on all texts."""

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from experiments import data, outcome, result, settings, task
from experiments.central_run import CentralRun
from tff_nlp import errors, seeds, silence_libraries
from tff_nlp.clients import client_data, partitions
from tff_nlp.execution import contexts
from tff_nlp.learning import local_training
from tff_nlp.models import classifier
from tff_nlp.program import metrics_log, progress, run_directory, training
from tff_nlp.tasks import classification, classification_scores

_COLUMNS = ("epoch", "train_loss", "train_accuracy", "test_accuracy", "test_macro_f1", "test_loss")


def train(
    run: CentralRun,
    texts: data.Data,
    directory: run_directory.RunDirectory,
    config: Mapping[str, Any],
    began: float,
) -> None:
    """Trains and writes the results.

    Args:
      run: The flags.
      texts: The corpora.
      directory: Receives the run; nothing is written before everything is built.
      config: The configuration.
      began: When the program started, by `time.monotonic`.

    Raises:
      UserError: Where a flag or a file is wrong.
      RunError: If training diverges.
    """
    silence_libraries.import_keras_nlp()
    # No round runs here; TFF's own default context would complain as Python ends.
    contexts.install("streaming")
    tf.keras.utils.set_random_seed(seeds.derive(run.central.seed, "keras") & 0x7FFFFFFF)
    model = task.build_classifier(run.model, texts.train, run.central.seed)
    data.say("model", [task.describe(model, run.model)])
    tokens = task.tokenize_all(texts, model, run.model.max_tokens, run.place.cache_dir)
    epochs, test = _datasets(run, texts, tokens, model)
    directory.begin()
    rows, scores = _fit(run, model, epochs, test, directory)
    trainable, frozen = model.initial_weights()
    outcome.write(
        directory,
        training.Outcome(None, {"test": scores}, rows),
        result.Facts(
            began=began,
            config=config,
            data=texts,
            model=model,
            max_tokens=run.model.max_tokens,
            strip_prefix=run.corpus.strip_prefix,
            tokens=tokens.reports,
            partition_checksum=None,
            bytes_per_client=None,
            rounds=run.central.epochs,
            weights=_Weights(trainable, frozen),
        ),
    )


def _datasets(
    run: CentralRun, texts: data.Data, tokens: task.Tokens, model: classifier.Classifier
) -> tuple[list[tf.data.Dataset], classification_scores.EvaluationSet]:
    """Returns a data set for each epoch, and what to test on."""
    pad_id = model.tokenizer.pad_id
    holder = client_data.TokenClientData(
        tokens.train,
        texts.train.labels,
        partitions.build(texts.train, "iid", run.central.seed, num_clients=1),
        pad_id=pad_id,
        batch_size=run.training.batch_size,
    )
    epochs = [
        _plain(holder.round_dataset(0, seeds.derive(run.central.seed, "order", epoch)))
        for epoch in range(run.central.epochs)
    ]
    return epochs, task.evaluation_set("test", tokens.test, texts.test.labels, pad_id)


def _fit(
    run: CentralRun,
    model: classifier.Classifier,
    epochs: Sequence[tf.data.Dataset],
    test: classification_scores.EvaluationSet,
    directory: run_directory.RunDirectory,
) -> tuple[list[dict[str, str]], classification_scores.Scores]:
    """Trains part by part of the epochs; returns the rows of metrics.csv and the last scores."""
    model.keras_model.compile(
        _optimizer(run, model, sum(int(dataset.cardinality()) for dataset in epochs)),
        tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        ["accuracy"],
    )
    score_set = classification.scorer(model)
    log = metrics_log.MetricsLog(directory.path / run_directory.METRICS, (*_COLUMNS, "seconds"))
    log.rewind(0)
    parts = _parts(epochs, run.central.evals_per_epoch)
    with progress.Progress(len(parts), 0, "part") as shown:
        for number, (epoch, part) in enumerate(parts):
            began = time.monotonic()
            loss, accuracy = _fit_part(model, part, epoch)
            weights = _Weights(*model.initial_weights())
            scores = score_set(weights, test)
            log.append(
                {
                    "round": number + 1,
                    "epoch": epoch,
                    "train_loss": loss,
                    "train_accuracy": accuracy,
                    "test_accuracy": scores.accuracy,
                    "test_macro_f1": scores.macro_f1,
                    "test_loss": scores.loss,
                    "seconds": time.monotonic() - began,
                }
            )
            shown.advance({"loss": loss, "accuracy": accuracy}, {"test": scores.accuracy})
    return log.rows(), scores


def _parts(epochs: Sequence[tf.data.Dataset], wanted: int) -> list[tuple[float, tf.data.Dataset]]:
    """Returns what to train on between evaluations, and the epochs passed by its end."""
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
    model: classifier.Classifier, part: tf.data.Dataset, epoch: float
) -> tuple[float, float]:
    """Trains on a part and returns loss and accuracy.

    Raises:
      RunError: If the loss is not finite.
    """
    history = model.keras_model.fit(part, verbose=0).history
    loss, accuracy = history["loss"][0], history["accuracy"][0]
    if not math.isfinite(loss):
        raise errors.RunError(
            f"epoch {math.ceil(epoch)}: the loss is not a number (NaN); lower "
            "--client_learning_rate"
        )
    return loss, accuracy


def _optimizer(run: CentralRun, model: classifier.Classifier, steps: int) -> Any:
    """Returns the Keras optimizer that the flags describe, for so many steps."""
    flags = run.training
    rate = _Schedule(
        settings.known(flags.client_learning_rate),
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


@dataclasses.dataclass(frozen=True)
class _Weights:
    trainable: list[np.ndarray]
    non_trainable: list[np.ndarray]


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


def _plain(dataset: tf.data.Dataset) -> tf.data.Dataset:
    return dataset.map(lambda batch: (batch["x"], batch["y"]))
