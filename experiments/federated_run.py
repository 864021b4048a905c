"""A federated run from flags to result: what experiments/train.py does."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from experiments import flag_groups, outcome, settings, task
from tff_nlp import seeds
from tff_nlp.clients import client_data, cohorts, partition, picture, splits
from tff_nlp.execution import contexts, streaming
from tff_nlp.learning import algorithms, optimizers, schedules
from tff_nlp.models import classifier
from tff_nlp.program import evaluation, run_directory, training


@dataclasses.dataclass(frozen=True)
class FederatedRun:
    """The flags of a run, group by group."""

    corpus: settings.CorpusFlags
    clients: settings.ClientFlags
    model: settings.ModelFlags
    client_training: settings.ClientTrainingFlags
    federated: settings.FederatedFlags
    rounds: settings.RunFlags
    place: settings.PlaceFlags

    def run(self, began: float) -> None:
        """Trains, or goes on training; prints what it does and writes the results.

        Args:
          began: When the program started, by `time.monotonic`.

        Raises:
          UserError: Where a flag, a file or a row is wrong.
          RunError: If training fails.
        """
        algorithm = self._algorithm()
        streaming.configure_threads()
        seed = self.rounds.seed
        data = task.load_data(self.corpus, seed)
        clients = task.resolve_partition(self.clients, data.train)
        whole, split = task.split_clients(clients, data.train, seed)
        config = {
            **flag_groups.record(
                self.corpus, clients, self.model, self.client_training, self.federated, self.rounds
            ),
            "context": self.place.context,
            "devices": list(self._devices()),
            "corpus (fingerprint)": data.train.fingerprint,
            "test_corpus (fingerprint)": data.test.fingerprint,
        }
        directory = run_directory.RunDirectory(
            output_dir(self.place.output_dir, self.corpus.corpus, config), config
        )
        done = directory.result()
        if done is not None:
            print(f"{directory.path}: finished, nothing to do")
            outcome.print_summary(done)
            return
        model = task.build_classifier(self.model, data.train, seed)
        directory.begin()
        for line in task.describe(data, model, self.model):
            print(line)
        print(f"clients   {whole.summary()}")
        print(f"clients   {split.summary()}")
        picture.draw_partition(
            split.train,
            data.train.labels,
            data.train.label_names,
            directory.path / "clients.png",
            title=f"{data.train.name}: {clients.partition}",
        )
        bytes_per_client = 4 * model.trainable_parameters
        print(
            f"round     {clients.clients_per_round} of {split.train.num_clients} clients "
            f"({clients.sampling}), {bytes_per_client / 1e6:,.2f} MB down and up per client"
        )
        print(f"device    {self._device_words()}, context {self.place.context}")
        print(f"output    {directory.path}", flush=True)
        contexts.install(
            self.place.context,
            self._devices(),
            max_failed_clients=self.federated.max_failed_clients,
        )
        program = self._program(data, split, clients, model, algorithm)
        result = program.run(directory)
        outcome.write(
            directory,
            result,
            outcome.Facts(
                began=began,
                config=config,
                data=data,
                model=model,
                max_tokens=self.model.max_tokens,
                partition_checksum=split.train.checksum,
                bytes_down=bytes_per_client,
                bytes_up=bytes_per_client,
                rounds=self.rounds.rounds,
                weights=program.process.get_model_weights(result.state),
            ),
        )

    def _algorithm(self) -> algorithms.AlgorithmConfig:
        federated, client = self.federated, self.client_training
        return algorithms.AlgorithmConfig(
            name=federated.algorithm,
            client_optimizer=optimizers.ClientOptimizer(
                name=client.client_optimizer,
                learning_rate=client.client_learning_rate,
                momentum=client.client_momentum,
                weight_decay=client.client_weight_decay,
                clip_norm=client.client_clip_norm,
            ),
            server_optimizer=optimizers.ServerOptimizer(
                name=federated.server_optimizer,
                learning_rate=federated.server_learning_rate,
                momentum=federated.server_momentum,
                epsilon=federated.server_epsilon,
            ),
            weighting=federated.weighting,
            proximal_strength=federated.proximal_strength,
            schedule=schedules.LinearSchedule(
                warmup_rounds=federated.warmup_rounds,
                total_rounds=self.rounds.rounds if federated.decay_learning_rate else None,
            ),
        )

    def _program(
        self,
        data: task.Data,
        split: splits.ClientSplits,
        clients: settings.ClientFlags,
        model: classifier.Classifier,
        algorithm: algorithms.AlgorithmConfig,
    ) -> training.TrainingProgram:
        seed = self.rounds.seed
        cache, test_cache = (
            task.tokenize(corpus, model, self.model.max_tokens, self.place.cache_dir)
            for corpus in (data.train, data.test)
        )
        pad_id = model.tokenizer.pad_id
        population = client_data.TokenClientData(
            cache,
            data.train.labels,
            split.train,
            pad_id=pad_id,
            batch_size=self.client_training.batch_size,
            epochs=self.federated.client_epochs,
            local_steps=self.federated.local_steps,
        )
        sets = [task.evaluation_set("test", test_cache, data.test.labels, pad_id)]
        for name, part in (("clients", split.test), ("held_out", split.held_out)):
            rows, holders = _some_rows(part, self.rounds.client_eval_examples, seed)
            if len(rows):
                sets.append(
                    task.evaluation_set(
                        name, cache, data.train.labels, pad_id, rows=rows, clients=holders
                    )
                )
        process = algorithms.build_process(model, algorithm, seed=seeds.derive(seed, "dropout"))
        return training.TrainingProgram(
            process=process,
            initial_state=lambda: algorithms.initial_state(process, model),
            cohort=_cohorts(clients, split.train.num_clients, seed),
            dataset=population.round_dataset,
            predict=predictor(model),
            evaluation_sets=sets,
            num_labels=model.num_labels,
            rounds=self.rounds.rounds,
            eval_every=self.rounds.eval_every,
            checkpoint_every=self.rounds.checkpoint_every,
            seed=seed,
        )

    def _devices(self) -> tuple[str, ...]:
        if self.place.context != "streaming":
            return ()
        named = tuple(d.strip() for d in self.place.devices.split(",") if d.strip())
        return named or streaming.default_devices()

    def _device_words(self) -> str:
        devices = self._devices()
        if not devices:
            return "CPU"
        names = sorted(set(devices))
        return f"{', '.join(names)}; {len(devices)} clients at a time"


def output_dir(flag: str, corpus: str, config: Mapping[str, Any]) -> pathlib.Path:
    """Returns --output_dir, or a folder below runs/ that the same flags give again."""
    if flag:
        return pathlib.Path(flag)
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    stem = pathlib.PurePath(corpus.split(",")[0]).name.split(".")[0].strip("*") or "run"
    return pathlib.Path("runs") / f"{stem}-{digest[:8]}"


def _cohorts(clients: settings.ClientFlags, population: int, seed: int) -> Any:
    def cohort(round_number: int) -> np.ndarray:
        if clients.sampling == "poisson":
            rate = clients.clients_per_round / population
            return cohorts.poisson_cohort(seed, round_number, population, rate)
        return cohorts.fixed_size_cohort(seed, round_number, population, clients.clients_per_round)

    return cohort


def _some_rows(part: partition.Partition, wanted: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns rows of whole clients, drawn at random, until there are enough; and their clients."""
    order = seeds.generator(seed, "evaluated_clients").permutation(part.num_clients)
    enough = np.searchsorted(np.cumsum(part.sizes[order]), wanted) + 1
    chosen = np.sort(order[:enough])
    if not len(chosen):
        return np.zeros([0], np.int64), np.zeros([0], np.int64)
    rows = [part.client_rows(int(client)) for client in chosen]
    return np.concatenate(rows), np.repeat(chosen, [len(r) for r in rows])


def predictor(model: classifier.Classifier) -> training.Predict:
    """Returns the function from weights to the function that scores token ids."""
    trainable, frozen = (
        [tf.TensorSpec(w.shape, tf.float32) for w in part] for part in model.initial_weights()
    )

    @tf.function(input_signature=[trainable, frozen, tf.TensorSpec([None, None], tf.int32)])
    def logits(trainable: Any, frozen: Any, tokens: tf.Tensor) -> tf.Tensor:
        mask = tf.not_equal(tokens, model.tokenizer.pad_id)
        return model.logits(trainable, frozen, tokens, mask, seed=None)

    def predict(weights: Any) -> evaluation.Predict:
        trained, fixed = (
            [tf.convert_to_tensor(w) for w in part]
            for part in (weights.trainable, weights.non_trainable)
        )
        return lambda tokens: logits(trained, fixed, tf.constant(tokens)).numpy()

    return predict
