"""The part of a federated run that needs TensorFlow: model, process, rounds, results."""

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from experiments import (
    alone,
    canary_clients,
    data,
    outcome,
    privacy_flags,
    quantized_rounds,
    result,
    secure_rounds,
    settings,
    task,
)
from experiments.federated_run import FederatedRun
from experiments.privacy_plan import PrivacyPlan, cohort_seed
from tff_nlp import errors, seeds, silence_libraries
from tff_nlp.clients import client_data, cohorts, partition, picture, splits
from tff_nlp.execution import contexts, ledger, streaming
from tff_nlp.learning import client_work, composition, optimizers, schedules, stateful
from tff_nlp.learning.algorithms import fed_avg, fed_prox, mime_lite, scaffold
from tff_nlp.learning.transforms import example_privacy
from tff_nlp.models import classifier
from tff_nlp.privacy import mechanism, releases
from tff_nlp.privacy.example_level import ExampleGuarantee
from tff_nlp.privacy.guarantee import DISTRIBUTED, EXAMPLE_LEVEL, Guarantee
from tff_nlp.privacy.noise_secret import NoiseSecret
from tff_nlp.program import checkpoints, run_directory, secret_file, training
from tff_nlp.tasks import classification
from tff_nlp.tasks import task as tasks


def train(
    run: FederatedRun,
    texts: data.Data,
    split: splits.ClientSplits,
    directory: run_directory.RunDirectory,
    config: Mapping[str, Any],
    began: float,
    plan: PrivacyPlan | None = None,
) -> None:
    """Trains and writes the results.

    Args:
      run: The flags.
      texts: The corpora.
      split: Who holds what.
      directory: Receives the run; nothing is written before everything is built.
      config: The configuration, but for the devices.
      began: When the program started, by `time.monotonic`.
      plan: What a run with differential privacy promises; None without.

    Raises:
      UserError: Where a flag or a file is wrong.
      RunError: If training fails.
    """
    streaming.configure_threads()
    silence_libraries.import_keras_nlp()
    devices = _devices(run.execution)
    model = task.build_classifier(run.model, texts.train, run.rounds.seed)
    data.say("model", [task.describe(model, run.model)])
    context = _install_context(run, devices)
    devices = contexts.devices_of(context)
    data.say("device", [f"{_describe_devices(devices)}, context {run.execution.context}"])
    tokens = task.tokenize_all(texts, model, run.model.max_tokens, run.place.cache_dir)
    secret = _noise_secret(run, directory)
    data.say("compiling", ["the round; the first one takes longer for that"])
    program = _program(run, texts, tokens, split, model, plan, secret)
    sent = contexts.count_bytes(
        context,
        program.process.next,
        cohort=run.clients.clients_per_round,
        overhead=secure_rounds.overhead(run),
    )
    data.say("round", [_describe_round(run.clients, split, sent)])
    late = {"devices": list(devices)}
    initial = model.initial_weights()[0] if run.privacy.audit_canaries else []
    directory.begin(**late)
    if secret is not None:
        secret_file.keep(directory.path, secret)
    picture.draw_partition(
        split.train,
        texts.train.labels,
        texts.train.label_names,
        directory.path / run_directory.CLIENTS,
        title=texts.title,
    )
    trained = program.run(directory)
    members, compared = alone.clients(run, texts.train, split), None
    if members is not None:
        steps = alone.local_steps(program, run, split.train)
        own = _population(run, texts, tokens, split, model.tokenizer.pad_id, steps)
        compared = alone.train(program, run, members, own, directory, {**config, **late})
    weights = program.process.get_model_weights(trained.state)
    audited = canary_clients.audit(run, trained, initial, weights.trainable, _mechanism(run, plan))
    outcome.write(
        directory,
        trained,
        result.Facts(
            began=began,
            config={**config, **late},
            data=texts,
            model=model,
            max_tokens=run.model.max_tokens,
            strip_prefix=run.corpus.strip_prefix,
            tokens=tokens.reports,
            partition_checksum=split.train.checksum,
            bytes_per_client=sent,
            rounds=run.rounds.rounds,
            weights=weights,
            audit=audited,
            alone=compared,
        ),
    )
    canary_clients.check(audited)


def local_work(run: FederatedRun, plan: PrivacyPlan | None) -> client_work.LocalWork:
    """Returns how the flags let clients train."""
    federated, client = run.federated, run.client_training
    return client_work.LocalWork(
        optimizer=optimizers.ClientOptimizer(
            name=client.client_optimizer,
            learning_rate=settings.known(client.client_learning_rate),
            momentum=client.client_momentum,
            weight_decay=client.client_weight_decay,
            clip_norm=client.client_clip_norm,
        ),
        schedule=schedules.LinearSchedule(
            warmup_rounds=federated.warmup_rounds,
            total_rounds=run.rounds.rounds if federated.decay_learning_rate else None,
        ),
        weighting=federated.weighting,
        example_privacy=_example_privacy(run, plan.guarantee) if plan else None,
        canaries=canary_clients.training(run),
        seed=seeds.derive(run.rounds.seed, "dropout"),
    )


def server_optimizer(run: FederatedRun) -> optimizers.ServerOptimizer:
    """Returns the server's optimizer that the flags describe."""
    return optimizers.ServerOptimizer(
        name=run.federated.server_optimizer,
        learning_rate=run.federated.server_learning_rate,
        momentum=run.federated.server_momentum,
        epsilon=run.federated.server_epsilon,
    )


def build_process(
    run: FederatedRun, trained: tasks.Task, population: int, plan: PrivacyPlan | None
) -> tff.learning.templates.LearningProcess | stateful.StatefulProcess:
    """Returns the process that the flags describe.

    Args:
      run: The flags.
      trained: What is trained for.
      population: How many clients there are.
      plan: What the run promises; None without privacy.
    """
    mismatch: dict[str, Any] = {"allow_dp_mismatch": run.privacy.allow_dp_mismatch}
    strength: dict[str, Any] = {"proximal_strength": run.federated.proximal_strength}
    builders: Mapping[str, Callable[..., Any]] = {
        "fedavg": functools.partial(fed_avg.fed_avg, **mismatch),
        "fedprox": functools.partial(fed_prox.fed_prox, **strength, **mismatch),
        "scaffold": functools.partial(scaffold.scaffold, population=population),
        "mime_lite": mime_lite.mime_lite,
    }
    return builders[run.federated.algorithm](
        trained,
        local_work(run, plan),
        server_optimizer=server_optimizer(run),
        aggregator=_aggregator(run, plan),
    )


def _program(
    run: FederatedRun,
    texts: data.Data,
    tokens: task.Tokens,
    split: splits.ClientSplits,
    model: classifier.Classifier,
    plan: PrivacyPlan | None,
    secret: NoiseSecret | None,
) -> training.TrainingProgram:
    seed = run.rounds.seed
    by_example = run.privacy.dp == EXAMPLE_LEVEL
    pad_id = model.tokenizer.pad_id
    population = _population(run, texts, tokens, split, pad_id, run.federated.local_steps)
    clients_draw = by_example or run.privacy.dp == DISTRIBUTED
    domains = texts.test.authors if run.clients.partition == "domains" else None
    sets = [task.evaluation_set("test", tokens.test, texts.test.labels, pad_id, domains=domains)]
    for name, part in (("clients", split.test), ("held_out", split.held_out)):
        rows, holders = _some_rows(part, run.rounds.client_eval_examples, seed)
        if len(rows):
            sets.append(
                task.evaluation_set(
                    name, tokens.train, texts.train.labels, pad_id, rows=rows, clients=holders
                )
            )
    trained = classification.classification(model, logit_adjustment=run.federated.logit_adjustment)
    process = build_process(run, trained, split.train.num_clients, plan)

    def dataset(client: int, number: int) -> tf.data.Dataset:
        order = seeds.derive(seed, "client_order", number)
        if secret is not None and by_example:
            # Which examples a batch of DP-SGD has is as secret as its noise.
            order = secret.seed("batches", number)
        return population.round_dataset(client, order)

    def client_key(client: int, number: int) -> np.ndarray | None:
        return secret.key("client", number, client) if secret and clients_draw else None

    return training.TrainingProgram(
        process=process,
        initial_state=lambda: composition.initial_state(process, trained),
        cohort=cohorts.sampler(
            run.clients.sampling,
            cohort_seed(run.clients.sampling, run.privacy.dp, seed, secret),
            split.train.num_clients + run.privacy.audit_canaries,
            run.clients.clients_per_round,
        ),
        client=canary_clients.with_canaries(
            dataset,
            split.train,
            trained.batch_spec,
            client_key,
            audited=bool(run.privacy.audit_canaries),
        ),
        score=trained.score_set,
        evaluation_sets=sets,
        train_means=("loss", *trained.metrics),
        headline=f"test_{trained.report.headline}",
        rounds=run.rounds.rounds,
        eval_every=run.rounds.eval_every,
        checkpoint_every=run.rounds.checkpoint_every,
        guarantee=plan.guarantee if plan else None,
        noise_secret=secret,
        client_id=lambda client: split.train.client_ids[client],
        auditor=canary_clients.auditor(run, split.train.num_clients),
    )


def _population(
    run: FederatedRun,
    texts: data.Data,
    tokens: task.Tokens,
    split: splits.ClientSplits,
    pad_id: int,
    local_steps: int | None,
) -> client_data.TokenClientData:
    return client_data.TokenClientData(
        tokens.train,
        texts.train.labels,
        split.train,
        pad_id=pad_id,
        batch_size=run.client_training.batch_size,
        epochs=run.federated.client_epochs,
        local_steps=local_steps,
        poisson=run.privacy.dp == EXAMPLE_LEVEL,
    )


def _noise_secret(run: FederatedRun, directory: run_directory.RunDirectory) -> NoiseSecret | None:
    """Returns what the noise of the run derives from; None without privacy.

    Raises:
      UserError: If rounds were computed already with a secret that is lost.
    """
    if run.privacy.dp == privacy_flags.NONE:
        return None
    if run.privacy.noise_seed is not None:
        return NoiseSecret.from_seed(run.privacy.noise_seed)
    kept = secret_file.read(directory.path)
    if kept is None and checkpoints.latest(directory.checkpoints):
        raise errors.UserError(
            f"--output_dir={directory.path}: the secret of the noise is gone from "
            f"{run_directory.PRIVATE}/, so that rounds which are computed again would have other "
            "noise; use another folder"
        )
    return kept or NoiseSecret.fresh()


def _example_privacy(
    run: FederatedRun, promised: Guarantee | ExampleGuarantee
) -> example_privacy.ExamplePrivacy | None:
    if isinstance(promised, Guarantee):
        return None
    return example_privacy.ExamplePrivacy(
        clipping_norm=run.privacy.clipping_norm,
        noise_multiplier=promised.noise_multiplier,
        expected_batch_size=run.client_training.batch_size,
    )


def _aggregator(run: FederatedRun, plan: PrivacyPlan | None) -> Any:
    """Returns what combines updates; None for the plain mean."""
    private_mean = _mechanism(run, plan)
    if private_mean is None:
        return quantized_rounds.aggregator(run) or secure_rounds.aggregator(run)
    aggregator = mechanism.build_aggregator(private_mean)
    if canary_clients.audits_rounds(run):
        aggregator = releases.ReleasingFactory(aggregator)
    return aggregator


def _mechanism(run: FederatedRun, plan: PrivacyPlan | None) -> mechanism.Mechanism | None:
    # With example-level privacy, what clients send is private already.
    if plan is None or isinstance(plan.guarantee, ExampleGuarantee):
        return None
    flags, promised = run.privacy, plan.guarantee
    return mechanism.Mechanism(
        name=promised.mechanism,
        noise_multiplier=promised.noise_multiplier,
        clients_per_round=promised.clients_per_round,
        clipping_norm=flags.clipping_norm,
        target_quantile=flags.target_quantile,
        clipping_learning_rate=flags.clipping_learning_rate,
        count_stddev=flags.clipped_count_stddev,
        efficient_tree=flags.efficient_tree,
        restart_every=promised.restart_every,
        bits=flags.distributed_bits,
    )


def _some_rows(part: partition.Partition, wanted: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns rows of whole clients, drawn at random, until there are enough; and their clients."""
    order = seeds.generator(seed, "evaluated_clients").permutation(part.num_clients)
    enough = np.searchsorted(np.cumsum(part.sizes[order]), wanted) + 1
    chosen = np.sort(order[:enough])
    if not len(chosen):
        return np.zeros([0], np.int64), np.zeros([0], np.int64)
    rows = [part.client_rows(int(client)) for client in chosen]
    return np.concatenate(rows), np.repeat(chosen, [len(r) for r in rows])


def _devices(execution: settings.ExecutionFlags) -> tuple[str, ...]:
    """Returns one TensorFlow device name per lane, none where the context has no lanes.

    Raises:
      UserError: If --devices names one that is not there; TensorFlow would take the CPU instead.
    """
    if execution.context != "streaming":
        return ()
    named = tuple(d.strip() for d in execution.devices.split(",") if d.strip())
    there = [device.name for device in tf.config.list_logical_devices()]
    for name in named:
        try:
            found = tf.DeviceSpec.from_string(name).to_string() in there
        except ValueError:
            found = False
        if not found:
            raise errors.UserError(
                f"--devices={execution.devices}: there is no {name}; TensorFlow finds "
                f"{', '.join(there)}"
            )
    return named or streaming.default_devices()


def _install_context(run: FederatedRun, devices: tuple[str, ...]) -> tff.framework.SyncContext:
    execution = run.execution
    ray = contexts.RayOptions(execution.ray_address, execution.ray_actors)
    if execution.context == "ray":
        # Actors that start or die, and how far a long round is.
        logging.getLogger("tff_nlp.execution").setLevel(logging.INFO)
    return contexts.install(
        execution.context,
        devices,
        protocols=secure_rounds.protocols(run),
        max_failed_clients=execution.max_failed_clients,
        ray_options=ray if execution.context == "ray" else None,
    )


def _describe_devices(devices: tuple[str, ...]) -> str:
    if not devices:
        return "CPU"
    names = list(dict.fromkeys(devices))
    listed = ", ".join(names) if len(names) <= 4 else f"{names[0]} to {names[-1]}"
    return f"{listed}; {len(devices)} clients at a time"


def _describe_round(
    clients: settings.ClientFlags, split: splits.ClientSplits, sent: ledger.ByteLedger
) -> str:
    once = f", {sent.once / 1e6:,.2f} MB once" if sent.once else ""
    protocol = [sent.bytes_of(direction, ledger.PROTOCOL) / 1e3 for direction in ("down", "up")]
    beside = "; {:,.1f} and {:,.1f} kB of it are the protocol's".format(*protocol)
    return (
        f"{clients.clients_per_round} of {split.train.num_clients} clients ({clients.sampling}); "
        f"per client {sent.down / 1e6:,.2f} MB down, {sent.up / 1e6:,.2f} MB up{once}"
        f"{beside if any(protocol) else ''}"
    )
