"""The part of a federated run that needs TensorFlow: model, process, rounds and results."""

import dataclasses
import logging
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp import errors, seeds, silence_libraries
from tff_nlp.clients import client_data, partition, picture, splits
from tff_nlp.corpora.corpus import Corpus
from tff_nlp.execution import contexts, ledger, streaming
from tff_nlp.learning import composition
from tff_nlp.privacy import names
from tff_nlp.privacy.noise_secret import NoiseSecret
from tff_nlp.program import run_directory, secret_file, trackers, training
from tff_nlp.runs import (
    alone,
    attackers,
    canary_clients,
    client_inputs,
    client_ranks,
    conduct,
    configs,
    data,
    device_rounds,
    distilling,
    learner,
    learners,
    outcome,
    personalization,
    processes,
    reporter,
    result,
    saved_partitions,
    secure_rounds,
    tracking,
    user_folders,
)
from tff_nlp.runs.drawing import Drawing
from tff_nlp.runs.privacy_plan import PrivacyPlan

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
    watchers: Sequence[trackers.Tracker] = (),
    *,
    keeps_model: bool = True,
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
      watchers: What else receives each round. An error of theirs ends the training.
      keeps_model: Whether the trained model is written.

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
    secret = noise_secret(run, directory)
    reporter.say("compiling", ["the round; the first round takes longer"])
    attacking = attackers.of_run(run, split.train)
    if attacking is not None:
        reporter.say("attack", [attacking.line()])
    program = build_program(run, texts, split, model, plan, secret, attacking)
    sent = _sent(run, program.process)
    sent = client_ranks.sent(run, model.task, split.train.num_clients, sent)
    reporter.say("round", [_describe_round(run, split, sent)])
    late = {"devices": list(devices)}
    initial = model.task.initial_weights()[0] if run.privacy.audit_canaries else []
    directory.begin(**late)
    saved_partitions.save(directory.path, holders)
    if secret is not None:
        secret_file.keep(directory.path, secret)
    _draw_clients(texts, split, directory.path / run_directory.CLIENTS)
    recorded, private = {**config, **late}, run.privacy.dp != names.NONE
    with tracking.opened(run.tracking, directory, recorded, private=private) as tracked:
        trained = program.run(directory, (*tracked, *watchers))
        members, compared = alone.clients(run, texts.train, split), None
        if members is not None:
            steps = alone.local_steps(program, run, split.train)
            own = _population(run, texts.train, split, model, steps)
            compared = alone.train(program, run, members, own, directory, recorded)
        weights = program.process.get_model_weights(trained.state)
        audited = canary_clients.audit(
            run, trained, initial, weights.trainable, processes.private_mean(run, plan)
        )
        personal = personalization.of_run(
            run,
            model,
            weights,
            program,
            processes.local_work(run, plan),
            texts.train,
            split,
            directory,
        )
        outcome.write(
            directory,
            trained,
            dataclasses.replace(
                result.facts_of(
                    run,
                    texts,
                    model,
                    token_reports,
                    config=recorded,
                    began=began,
                    weights=weights,
                ),
                partition_checksum=split.train.checksum,
                bytes_per_client=sent,
                audit=audited,
                alone=compared,
                personal=personal,
                attack=attackers.result(attacking, trained.scores),
                clock=device_rounds.result(trained.rows),
            ),
            tracked,
            keeps_model=keeps_model,
        )
    canary_clients.check(audited)


def _draw_clients(texts: data.Data, split: splits.ClientSplits, path: pathlib.Path) -> None:
    if not texts.train.is_labelled:
        picture.draw_sizes(split.train, path, title=texts.title)
        return
    picture.draw_partition(
        split.train, texts.train.labels, texts.train.label_names, path, title=texts.title
    )


def build_program(
    run: configs.FederatedRun,
    texts: data.Data,
    split: splits.ClientSplits,
    model: learner.Learner,
    plan: PrivacyPlan | None,
    secret: NoiseSecret | None,
    attacking: attackers.Attackers | None = None,
) -> training.TrainingProgram:
    """Returns the rounds of a run, see `train` for the arguments.

    Args:
      run: The configuration.
      texts: The corpora.
      split: The clients.
      model: The model of the server.
      plan: The privacy plan of the run; None without differential privacy.
      secret: The secret from which noise derives; None without differential privacy.
      attacking: The attackers; None without attackers.
    """
    seed = run.rounds.seed
    drawing = Drawing(conduct.of_process(run), conduct.of_rounds(run), seed, secret)
    models = distilling.client_models(run, texts.train, model)
    steps = run.federated.local_steps
    populations = [_population(run, texts.train, split, each, steps) for each in models]
    poison = attacking and attacking.poison(texts.train)
    poisoned = [_population(run, poison, split, each, steps) for each in models if poison]
    domains = texts.test.authors if run.clients.partition == "domains" else None
    sets = [model.evaluation_set("test", texts.test, domains=domains)]
    if split.validation.num_examples:
        sets.append(model.evaluation_set("validation", texts.train, rows=split.validation.rows))
    triggered = attacking and attacking.test(texts.test)
    if triggered:
        sets.append(model.evaluation_set(attackers.BACKDOOR, triggered))
    for name, part in (("clients", split.test), ("held_out", split.held_out)):
        rows, holders = _some_rows(part, run.rounds.client_eval_examples, seed)
        if len(rows):
            sets.append(model.evaluation_set(name, texts.train, rows=rows, clients=holders))
    trained = model.task
    public = distilling.public(run, model, models, texts.public)
    process = processes.build_process(run, trained, split.train.num_clients, plan, public)

    schedule = device_rounds.schedule(run, split.train, trained, lambda: _sent(run, process))
    cohort = drawing.cohorts(
        split.train.num_clients + run.privacy.audit_canaries, run.clients.clients_per_round
    )
    return training.TrainingProgram(
        process=process,
        initial_state=lambda: composition.initial_state(process, trained),
        cohort=cohort if schedule is None else lambda number: schedule(number).clients,
        client=client_inputs.build(
            run,
            split.train,
            trained.batch_spec,
            populations,
            poisoned,
            drawing,
            attacking=attacking,
            schedule=schedule,
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
        clock=None if schedule is None else lambda number: device_rounds.row(schedule(number)),
    )


def _sent(
    run: configs.FederatedRun, process: tff.learning.templates.LearningProcess
) -> ledger.ByteLedger:
    return contexts.count_bytes(
        tff.framework.get_context_stack().current,
        process.next,
        cohort=run.clients.clients_per_round,
        overhead=secure_rounds.overhead(run),
    )


def _population(
    run: configs.FederatedRun,
    corpus: Corpus,
    split: splits.ClientSplits,
    model: learner.Learner,
    local_steps: int | None,
) -> client_data.TokenClientData:
    return client_data.TokenClientData(
        model.tokens(corpus),
        model.targets(corpus),
        split.train,
        pad_id=model.model.tokenizer.pad_id,
        batch_size=run.client_training.batch_size,
        epochs=run.federated.client_epochs,
        local_steps=local_steps,
        poisson=conduct.of_rounds(run).poisson_batches,
    )


def noise_secret(
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
    run: configs.FederatedRun, split: splits.ClientSplits, sent: ledger.ByteLedger
) -> str:
    clients, by_devices = run.clients, bool(run.devices.device_profiles)
    once = f", {sent.once / 1e6:,.2f} MB once" if sent.once else ""
    protocol = [sent.bytes_of(direction, ledger.PROTOCOL) / 1e3 for direction in ("down", "up")]
    of_protocol = ", including {:,.1f} and {:,.1f} kB of the protocol".format(*protocol)
    return (
        f"{clients.clients_per_round} of {split.train.num_clients} clients "
        f"({'by their devices' if by_devices else clients.sampling}); "
        f"per client {sent.down / 1e6:,.2f} MB down, {sent.up / 1e6:,.2f} MB up{once}"
        f"{of_protocol if any(protocol) else ''}"
    )
