"""A central run from flags to result: what experiments/train_centralized.py does."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tqdm

from experiments import federated_run, flag_groups, outcome, settings, task
from tff_nlp import errors, seeds
from tff_nlp.clients import client_data, partitions
from tff_nlp.learning import client_update
from tff_nlp.models import classifier
from tff_nlp.program import evaluation, metrics_log, run_directory, training

_COLUMNS = ("epoch", "train_loss", "train_accuracy", "test_accuracy", "test_macro_f1", "test_loss")


@dataclasses.dataclass(frozen=True)
class CentralRun:
    """The flags of a run, group by group."""

    corpus: settings.CorpusFlags
    model: settings.ModelFlags
    training: settings.ClientTrainingFlags
    central: settings.CentralFlags
    place: settings.PlaceFlags

    def run(self, began: float) -> None:
        """Trains; prints what it does and writes the results.

        Args:
          began: When the program started, by `time.monotonic`.

        Raises:
          UserError: Where a flag, a file or a row is wrong.
          RunError: If training diverges.
        """
        data = task.load_data(self.corpus, self.central.seed)
        config = {
            **flag_groups.record(self.corpus, self.model, self.training, self.central),
            "corpus (fingerprint)": data.train.fingerprint,
            "test_corpus (fingerprint)": data.test.fingerprint,
        }
        path = federated_run.output_dir(self.place.output_dir, self.corpus.corpus, config)
        directory = run_directory.RunDirectory(path, config)
        done = directory.result()
        if done is not None:
            print(f"{path}: finished, nothing to do")
            outcome.print_summary(done)
            return
        tf.keras.utils.set_random_seed(seeds.derive(self.central.seed, "keras") & 0x7FFFFFFF)
        model = task.build_classifier(self.model, data.train, self.central.seed)
        directory.begin()
        for line in task.describe(data, model, self.model):
            print(line)
        print(f"output    {path}", flush=True)
        rows, scores = self._fit(data, model, directory)
        trainable, frozen = model.initial_weights()
        outcome.write(
            directory,
            training.Outcome(None, {"test": scores}, rows),
            outcome.Facts(
                began=began,
                config=config,
                data=data,
                model=model,
                max_tokens=self.model.max_tokens,
                partition_checksum=None,
                bytes_down=None,
                bytes_up=None,
                rounds=self.central.epochs,
                weights=tf.nest.map_structure(np.asarray, _Weights(trainable, frozen)),
            ),
        )

    def _fit(
        self,
        data: task.Data,
        model: classifier.Classifier,
        directory: run_directory.RunDirectory,
    ) -> tuple[list[dict[str, str]], evaluation.Scores]:
        cache, test_cache = (
            task.tokenize(corpus, model, self.model.max_tokens, self.place.cache_dir)
            for corpus in (data.train, data.test)
        )
        pad_id = model.tokenizer.pad_id
        holder = client_data.TokenClientData(
            cache,
            data.train.labels,
            partitions.build(data.train, "iid", self.central.seed, num_clients=1),
            pad_id=pad_id,
            batch_size=self.training.batch_size,
        )
        test = task.evaluation_set("test", test_cache, data.test.labels, pad_id)
        datasets = [
            _plain(holder.round_dataset(0, seeds.derive(self.central.seed, "order", epoch)))
            for epoch in range(self.central.epochs)
        ]
        steps = [int(dataset.cardinality()) for dataset in datasets]
        keras_model = model.keras_model
        keras_model.compile(
            self._optimizer(model, sum(steps)),
            tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            ["accuracy"],
        )
        predict = federated_run.predictor(model)
        log = metrics_log.MetricsLog(directory.path / "metrics.csv", (*_COLUMNS, "seconds"))
        log.rewind(0)
        parts = self.central.evals_per_epoch
        with tqdm.tqdm(total=self.central.epochs * parts, desc="training", unit="part") as bar:
            for epoch, (dataset, count) in enumerate(zip(datasets, steps, strict=True)):
                for part in range(parts):
                    first, last = count * part // parts, count * (part + 1) // parts
                    if first == last:
                        bar.update()
                        continue
                    began = bar.format_dict["elapsed"]
                    history = keras_model.fit(
                        dataset.skip(first).take(last - first), verbose=0
                    ).history
                    if not math.isfinite(history["loss"][0]):
                        raise errors.RunError(
                            f"epoch {epoch + 1}: the loss is not a number (NaN); lower "
                            "--client_learning_rate"
                        )
                    trainable, frozen = model.initial_weights()
                    scores = evaluation.score(
                        test, predict(_Weights(trainable, frozen)), model.num_labels
                    )
                    bar.update()
                    log.append(
                        {
                            "round": epoch * parts + part + 1,
                            "epoch": epoch + (part + 1) / parts,
                            "train_loss": history["loss"][0],
                            "train_accuracy": history["accuracy"][0],
                            "test_accuracy": scores.accuracy,
                            "test_macro_f1": scores.macro_f1,
                            "test_loss": scores.loss,
                            "seconds": bar.format_dict["elapsed"] - began,
                        }
                    )
                    bar.set_postfix(test=f"{scores.accuracy:.3f}", refresh=False)
        return log.rows(), scores

    def _optimizer(self, model: classifier.Classifier, steps: int) -> Any:
        flags = self.training
        rate = _Schedule(
            flags.client_learning_rate,
            int(self.central.warmup_fraction * steps),
            steps if self.central.decay_learning_rate else None,
        )
        if flags.client_optimizer == "sgd":
            return tf.keras.optimizers.SGD(
                rate, flags.client_momentum, global_clipnorm=flags.client_clip_norm
            )
        optimizer = tf.keras.optimizers.AdamW(
            rate, flags.client_weight_decay, global_clipnorm=flags.client_clip_norm
        )
        optimizer.exclude_from_weight_decay(
            [
                variable
                for variable, name in zip(
                    model.keras_model.trainable_variables, model.trainable_names, strict=True
                )
                if not client_update.is_decayed(name)
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
    return dataset.map(lambda batch: (batch["x"], batch["y"]), deterministic=True)
