"""The part of a federated run that needs TensorFlow: model, process, rounds and results."""

import dataclasses
import functools
import logging
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp import errors, seeds, silence_libraries
from tff_nlp.aggregation import factor_products
from tff_nlp.clients import client_data, partition, picture, splits
from tff_nlp.execution import contexts, ledger, streaming
from tff_nlp.learning import (
    client_work,
    composition,
    optimizers,
    schedules,
    stateful,
)
from tff_nlp.learning.algorithms import (
    ditto,
    fed_avg,
    fed_per,
    fed_prox,
    fed_sa,
    mime_lite,
    q_fed_avg,
    scaffold,
)
from tff_nlp.learning.transforms import example_privacy
from tff_nlp.models.adapters import names as adapters
from tff_nlp.privacy import mechanism, names, releases
from tff_nlp.privacy.example_level import ExampleGuarantee
from tff_nlp.privacy.guarantee import Guarantee
from tff_nlp.privacy.noise_secret import NoiseSecret
from tff_nlp.program import run_directory, secret_file, training
from tff_nlp.runs import (
    alone,
    canary_clients,
    client_ranks,
    conduct,
    configs,
    data,
    distilling,
    learner,
    learners,
    outcome,
    personalization,
    quantized_rounds,
    reporter,
    result,
    saved_partitions,
    secure_rounds,
    user_folders,
)
from tff_nlp.runs.drawing import Drawing
from tff_nlp.runs.privacy_plan import PrivacyPlan
from tff_nlp.tasks import task as tasks

# What clients keep, by the name of the process.
_UNTRAINED = {"fedper": "their heads", "fedsa": "their factors B"}


def train(
    run: configs.FederatedRun,
    texts: data.Data,
    holders: saved_partitions.Holders,
    directory: run_directory.RunDirectory,
    config: Mapping[str, Any],
    began: float,
    plan: PrivacyPlan | None = None,
) -> None:
    """Trains and writes the results.

    Args:
      run: The configuration.
      texts: The corpora.
      holders: The partition into clients.
      directory: Directory of the run. Nothing is written before model and process are built.
      config: The configuration to record, without the devices.
      began: Start time of the program, from `time.monotonic`.
      plan: The privacy plan of the run; None without differential privacy.

    Raises:
      UserError: If a flag or a file is wrong.
      RunError: If training fails.
    """
    split = holders.split
    streaming.configure_threads()
    silence_libraries.import_keras_nlp()
    devices = _devices(run.execution)
    model = learners.build(
        run.corpus.task,
        texts.train,
        run.model,
        user_folders.cache_dir(run.place.cache_dir),
        seed=run.rounds.seed,
        logit_adjustment=run.federated.logit_adjustment,
    )
    reporter.say("model", [model.describe()])
    context = _install_context(run, devices)
    devices = contexts.devices_of(context)
    reporter.say("device", [f"{_describe_devices(devices)}, context {run.execution.context}"])
    token_reports = {
        "train": model.report_tokens(texts.train),
        "test": model.report_tokens(texts.test),
    }
    reporter.say("tokens", token_reports["train"].lines())
    if run.process in _UNTRAINED:
        part = _UNTRAINED[run.process]
        note = f"clients keep {part}, so those of the final and exported model are untrained"
        reporter.say("note", [note])
    secret = _noise_secret(run, directory)
    reporter.say("compiling", ["the round; the first round takes longer"])
    program = build_program(run, texts, split, model, plan, secret)
    sent = contexts.count_bytes(
        context,
        program.process.next,
        cohort=run.clients.clients_per_round,
        overhead=secure_rounds.overhead(run),
    )
    sent = client_ranks.sent(run, model.task, split.train.num_clients, sent)
    reporter.say("round", [_describe_round(run.clients, split, sent)])
    late = {"devices": list(devices)}
    initial = model.task.initial_weights()[0] if run.privacy.audit_canaries else []
    directory.begin(**late)
    saved_partitions.save(directory.path, holders)
    if secret is not None:
        secret_file.keep(directory.path, secret)
    _draw_clients(texts, split, directory.path / run_directory.CLIENTS)
    trained = program.run(directory)
    members, compared = alone.clients(run, texts.train, split), None
    if members is not None:
        steps = alone.local_steps(program, run, split.train)
        own = _population(run, texts, split, model, steps)
        compared = alone.train(program, run, members, own, directory, {**config, **late})
    weights = program.process.get_model_weights(trained.state)
    audited = canary_clients.audit(run, trained, initial, weights.trainable, _mechanism(run, plan))
    personal = personalization.of_run(
        run, model, weights, program, local_work(run, plan), texts.train, split, directory
    )
    outcome.write(
        directory,
        trained,
        result.Facts(
            began=began,
            config={**config, **late},
            data=texts,
            learner=model,
            strip_prefix=run.corpus.strip_prefix,
            tokens=token_reports,
            partition_checksum=split.train.checksum,
            bytes_per_client=sent,
            rounds=run.rounds.rounds,
            weights=weights,
            audit=audited,
            alone=compared,
            personal=personal,
        ),
    )
    canary_clients.check(audited)


def _draw_clients(texts: data.Data, split: splits.ClientSplits, path: pathlib.Path) -> None:
    if not texts.train.is_labelled:
        picture.draw_sizes(split.train, path, title=texts.title)
        return
    picture.draw_partition(
        split.train, texts.train.labels, texts.train.label_names, path, title=texts.title
    )


def local_work(run: configs.FederatedRun, plan: PrivacyPlan | None) -> client_work.LocalWork:
    """Returns the local training that the configuration describes."""
    federated, client = run.federated, run.client_training
    return client_work.LocalWork(
        optimizer=optimizers.ClientOptimizer(
            name=client.client_optimizer,
            learning_rate=client.known_learning_rate(),
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


def server_optimizer(run: configs.FederatedRun) -> optimizers.ServerOptimizer:
    """Returns the server's optimizer that the configuration describes."""
    return optimizers.ServerOptimizer(
        name=run.federated.server_optimizer,
        learning_rate=run.federated.server_learning_rate,
        momentum=run.federated.server_momentum,
        epsilon=run.federated.server_epsilon,
    )


def build_process(
    run: configs.FederatedRun,
    trained: tasks.Task,
    population: int,
    plan: PrivacyPlan | None,
    public: distilling.Public | None = None,
) -> tff.learning.templates.LearningProcess | stateful.StatefulProcess:
    """Returns the learning process that the configuration describes.

    Args:
      run: The configuration.
      trained: The task.
      population: Number of clients.
      plan: The privacy plan of the run; None without differential privacy.
      public: The public texts; None if the run does not distil.
    """
    local = local_work(run, plan)
    mismatch: dict[str, Any] = {"allow_dp_mismatch": run.privacy.allow_dp_mismatch}
    strength: dict[str, Any] = {"proximal_strength": run.federated.proximal_strength}
    builders: Mapping[str, Callable[..., Any]] = {
        "fedavg": functools.partial(fed_avg.fed_avg, **mismatch),
        "fedprox": functools.partial(fed_prox.fed_prox, **strength, **mismatch),
        "scaffold": functools.partial(scaffold.scaffold, population=population),
        "mime_lite": mime_lite.mime_lite,
        "fedper": fed_per.fed_per,
        "fedsa": fed_sa.fed_sa,
        "ditto": functools.partial(ditto.ditto, strength=run.federated.ditto_strength),
        "qfedavg": functools.partial(q_fed_avg.q_fed_avg, fairness=run.federated.fairness_q),
        **distilling.builders(run, local.optimizer, public),
    }
    local = dataclasses.replace(local_work(run, plan), ranks=client_ranks.of_run(run, trained))
    return builders[run.process](
        trained,
        local,
        server_optimizer=server_optimizer(run),
        aggregator=build_aggregator(run, trained, plan),
    )


def build_program(
    run: configs.FederatedRun,
    texts: data.Data,
    split: splits.ClientSplits,
    model: learner.Learner,
    plan: PrivacyPlan | None,
    secret: NoiseSecret | None,
) -> training.TrainingProgram:
    """Returns the rounds of a run, see `train` for the arguments."""
    seed = run.rounds.seed
    drawing = Drawing(conduct.of_process(run), conduct.of_rounds(run), seed, secret)
    models = distilling.client_models(run, texts.train, model)
    steps = run.federated.local_steps
    populations = [_population(run, texts, split, each, steps) for each in models]
    domains = texts.test.authors if run.clients.partition == "domains" else None
    sets = [model.evaluation_set("test", texts.test, domains=domains)]
    if split.validation.num_examples:
        sets.append(model.evaluation_set("validation", texts.train, rows=split.validation.rows))
    for name, part in (("clients", split.test), ("held_out", split.held_out)):
        rows, holders = _some_rows(part, run.rounds.client_eval_examples, seed)
        if len(rows):
            sets.append(model.evaluation_set(name, texts.train, rows=rows, clients=holders))
    trained = model.task
    public = distilling.public(run, model, models, texts.public)
    process = build_process(run, trained, split.train.num_clients, plan, public)

    def dataset(client: int, number: int) -> tf.data.Dataset:
        own = populations[client % len(models)]
        return own.round_dataset(client, drawing.order(number))

    return training.TrainingProgram(
        process=process,
        initial_state=lambda: composition.initial_state(process, trained),
        cohort=drawing.cohorts(
            split.train.num_clients + run.privacy.audit_canaries, run.clients.clients_per_round
        ),
        client=canary_clients.with_canaries(
            dataset,
            split.train,
            trained.batch_spec,
            drawing.key,
            audited=bool(run.privacy.audit_canaries),
            ranks=client_ranks.drawn(run, split.train.num_clients),
            kind=(lambda client: client % len(models)) if len(models) > 1 else None,
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
        drawn=drawing.rounds,
        auditor=canary_clients.auditor(run, split.train.num_clients),
    )


def _population(
    run: configs.FederatedRun,
    texts: data.Data,
    split: splits.ClientSplits,
    model: learner.Learner,
    local_steps: int | None,
) -> client_data.TokenClientData:
    return client_data.TokenClientData(
        model.tokens(texts.train),
        model.targets(texts.train),
        split.train,
        pad_id=model.model.tokenizer.pad_id,
        batch_size=run.client_training.batch_size,
        epochs=run.federated.client_epochs,
        local_steps=local_steps,
        poisson=conduct.of_rounds(run).poisson_batches,
    )


def _noise_secret(
    run: configs.FederatedRun, directory: run_directory.RunDirectory
) -> NoiseSecret | None:
    """Returns the secret from which the noise of the run derives; None without privacy.

    Raises:
      UserError: If rounds were computed with a secret, and the secret is lost.
    """
    if run.privacy.dp == names.NONE:
        return None
    if run.privacy.noise_seed is not None:
        return NoiseSecret.from_seed(run.privacy.noise_seed)
    return secret_file.read_or_make(directory)


def _example_privacy(
    run: configs.FederatedRun, promised: Guarantee | ExampleGuarantee
) -> example_privacy.ExamplePrivacy | None:
    if isinstance(promised, Guarantee):
        return None
    return example_privacy.ExamplePrivacy(
        clipping_norm=run.privacy.clipping_norm,
        noise_multiplier=promised.noise_multiplier,
        expected_batch_size=run.client_training.batch_size,
    )


def build_aggregator(
    run: configs.FederatedRun, trained: tasks.Task, plan: PrivacyPlan | None
) -> Any:
    """Returns the aggregator of updates, see `build_process`; None for the plain mean."""
    if conduct.of_process(run).aggregator.multiplies:
        pairs = [(factors.a, factors.b) for factors in trained.factors]
        method = run.model.lora_aggregation
        return factor_products.FactorMeanFactory(
            method, pairs, starts_anew=method == adapters.FLORA
        )
    private_mean = _mechanism(run, plan)
    if private_mean is None:
        return quantized_rounds.aggregator(run) or secure_rounds.aggregator(run)
    aggregator = mechanism.build_aggregator(private_mean)
    if canary_clients.audits_rounds(run):
        aggregator = releases.ReleasingFactory(aggregator)
    return aggregator


def _mechanism(run: configs.FederatedRun, plan: PrivacyPlan | None) -> mechanism.Mechanism | None:
    # With example-level privacy, the updates are already private.
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
    """Returns all rows of random clients, at least `wanted` if possible, and the rows' clients."""
    order = seeds.generator(seed, "evaluated_clients").permutation(part.num_clients)
    enough = np.searchsorted(np.cumsum(part.sizes[order]), wanted) + 1
    chosen = np.sort(order[:enough])
    if not len(chosen):
        return np.zeros([0], np.int64), np.zeros([0], np.int64)
    rows = [part.client_rows(int(client)) for client in chosen]
    return np.concatenate(rows), np.repeat(chosen, [len(r) for r in rows])


def _devices(execution: configs.ExecutionConfig) -> tuple[str, ...]:
    """Returns one TensorFlow device name per lane; none if the context has no lanes.

    Raises:
      UserError: If a device of `devices` does not exist. TensorFlow would use the CPU instead.
    """
    if execution.context != "streaming":
        return ()
    named = tuple(d.strip() for d in execution.devices.split(",") if d.strip())
    available = [device.name for device in tf.config.list_logical_devices()]
    for name in named:
        try:
            exists = tf.DeviceSpec.from_string(name).to_string() in available
        except ValueError:
            exists = False
        if not exists:
            raise errors.UserError(
                f"{errors.setting('devices', execution.devices)}: there is no {name}; TensorFlow "
                f"finds {', '.join(available)}"
            )
    return named or streaming.default_devices()


def _install_context(
    run: configs.FederatedRun, devices: tuple[str, ...]
) -> tff.framework.SyncContext:
    execution = run.execution
    ray = contexts.RayOptions(execution.ray_address, execution.ray_actors)
    if execution.context == "ray":
        # Logs the start and the death of actors, and the progress of long rounds.
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
    clients: configs.ClientsConfig, split: splits.ClientSplits, sent: ledger.ByteLedger
) -> str:
    once = f", {sent.once / 1e6:,.2f} MB once" if sent.once else ""
    protocol = [sent.bytes_of(direction, ledger.PROTOCOL) / 1e3 for direction in ("down", "up")]
    of_protocol = ", including {:,.1f} and {:,.1f} kB of the protocol".format(*protocol)
    return (
        f"{clients.clients_per_round} of {split.train.num_clients} clients ({clients.sampling}); "
        f"per client {sent.down / 1e6:,.2f} MB down, {sent.up / 1e6:,.2f} MB up{once}"
        f"{of_protocol if any(protocol) else ''}"
    )
