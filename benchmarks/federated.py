"""The federated contenders: this package's process in each context, and TFF's own process."""

import collections
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from benchmarks import examples, models, shapes
from benchmarks.task import Report, Task, time_rounds
from tff_nlp.clients import client_data, partition, token_cache
from tff_nlp.execution import contexts, streaming
from tff_nlp.learning import client_work, composition, optimizers
from tff_nlp.learning.algorithms import fed_avg
from tff_nlp.models import encoders
from tff_nlp.privacy import guarantee, mechanism, noise_secret
from tff_nlp.tasks import classification


def run_streaming(
    task: Task, report: Report, *, private: bool = False, compute_dtype: str = "float32"
) -> None:
    """Runs this package's FedAvg in the streaming context.

    Args:
      task: The measurement.
      report: Function that is called with the seconds of each round.
      private: Whether updates are clipped, have equal weights and get Gaussian noise.
      compute_dtype: One of `encoders.COMPUTE_DTYPES`.
    """
    streaming.configure_threads()
    contexts.install("streaming")
    aggregator = None
    if private:
        # The clipping norm is below the norm of these updates, so that all of them are clipped.
        gaussian = mechanism.Mechanism(
            guarantee.GAUSSIAN,
            noise_multiplier=1.0,
            clients_per_round=task.shape.clients,
            clipping_norm=1e-3,
        )
        aggregator = mechanism.build_aggregator(gaussian)
    with encoders.computing_in(compute_dtype):
        _run_own_process(task, report, aggregator)


def run_ray(task: Task, report: Report, *, actors: int) -> None:
    """Runs this package's FedAvg on Ray, on this machine only.

    Args:
      task: The measurement.
      report: Function that is called with the seconds of each round.
      actors: Number of actors. They share the cores.
    """
    streaming.configure_threads()
    contexts.install("ray", ray_options=contexts.RayOptions(actors=actors))
    _run_own_process(task, report)


def run_ours_in_tff(task: Task, report: Report) -> None:
    """Runs this package's FedAvg in TFF's own worker."""
    contexts.install("tff")
    _run_own_process(task, report)


def run_tff(task: Task, report: Report) -> None:
    """Runs TFF's FedAvg of a Keras model in TFF's own worker, with TFF's defaults."""
    contexts.install("tff")
    cohort = examples.draw(task.shape, task.token_ids)
    clients = [_plain_dataset(t, y) for t, y in zip(cohort.tokens, cohort.labels, strict=True)]
    spec = clients[0].element_spec

    def model_fn() -> tff.learning.models.VariableModel:
        return tff.learning.models.from_keras_model(
            models.build_keras_model(task.shape.size),
            loss=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            input_spec=spec,
        )

    process = tff.learning.algorithms.build_weighted_fed_avg(
        model_fn,
        client_optimizer_fn=tff.learning.optimizers.build_sgdm(shapes.LEARNING_RATE),
        server_optimizer_fn=tff.learning.optimizers.build_sgdm(1.0),
    )
    _run(task, process, process.initialize(), lambda number: clients, report)


def _run_own_process(
    task: Task,
    report: Report,
    aggregator: tff.aggregators.UnweightedAggregationFactory | None = None,
) -> None:
    model = models.build_classifier(task.shape.size)
    trained = classification.classification(model)
    # A privacy mechanism needs equal weights. All clients here have equally many examples anyway.
    local = client_work.LocalWork(
        optimizers.ClientOptimizer(learning_rate=shapes.LEARNING_RATE),
        weighting=client_work.EXAMPLES if aggregator is None else client_work.UNIFORM,
    )
    process = fed_avg.fed_avg(trained, local, aggregator=aggregator)
    state = composition.initial_state(process, trained)
    population = _population(task.shape, examples.draw(task.shape, task.token_ids))

    def clients(number: int) -> list[tf.data.Dataset]:
        # Built again in every round, as in training, so it is part of the measured time.
        return [population.round_dataset(client, number) for client in range(task.shape.clients)]

    _run(task, process, state, clients, report)


def _run(
    task: Task,
    process: tff.learning.templates.LearningProcess,
    state: Any,
    clients: Callable[[int], Sequence[tf.data.Dataset]],
    report: Report,
) -> None:
    secret = noise_secret.NoiseSecret.fresh()

    def run_round(number: int) -> None:
        nonlocal state
        key = secret.key("round", number)
        state = state._replace(aggregator=mechanism.with_key(state.aggregator, key))
        state, metrics = process.next(state, clients(number))
        trained = metrics["client_work"]["train"]["num_examples"]
        if trained != task.shape.total_examples:
            raise RuntimeError(f"{trained} of {task.shape.total_examples} examples were trained on")

    time_rounds(task, run_round, report)


def _plain_dataset(tokens: np.ndarray, labels: np.ndarray) -> tf.data.Dataset:
    """Returns a client's data set in the usual way, but without the slow autotuning."""
    elements = collections.OrderedDict(x=tokens, y=labels)
    options = tf.data.Options()
    options.autotune.enabled = False
    return tf.data.Dataset.from_tensor_slices(elements).batch(shapes.BATCH).with_options(options)


def _population(shape: shapes.Shape, cohort: examples.Examples) -> client_data.TokenClientData:
    """Returns the examples as client data, as in training."""
    count = shape.total_examples
    cache = token_cache.TokenCache(
        tokens=cohort.tokens.reshape([-1]),
        offsets=np.arange(count + 1, dtype=np.int64) * shapes.LENGTH,
        max_tokens=shapes.LENGTH,
        key=shape.name,
    )
    holders = partition.Partition(
        client_ids=tuple(f"client{number}" for number in range(shape.clients)),
        offsets=np.arange(shape.clients + 1) * shape.examples,
        rows=np.arange(count),
        kind="iid",
        parameters={"num_clients": shape.clients},
        seed=0,
        corpus_fingerprint=shape.name,
        corpus_examples=count,
    )
    return client_data.TokenClientData(
        cache,
        cohort.labels.reshape([-1]),
        holders,
        pad_id=examples.PAD_ID,
        batch_size=shapes.BATCH,
    )
