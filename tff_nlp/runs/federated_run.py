"""A federated run from its config to its result.

This file needs no TensorFlow, so that mistakes and finished runs are found within seconds.
federated_training.py has the part that needs it.
"""

import dataclasses
import time
from collections.abc import Sequence

from tff_nlp.privacy import names
from tff_nlp.program import configuration, run_directory, trackers
from tff_nlp.runs import (
    alone,
    conduct,
    configs,
    data,
    options,
    privacy_plan,
    reporter,
    result,
    run_paths,
    saved_partitions,
)


def run(
    config: configs.FederatedRun,
    began: float | None = None,
    watchers: Sequence[trackers.Tracker] = (),
    *,
    keeps_model: bool = True,
) -> None:
    """Trains or resumes training, prints messages and writes the results.

    Args:
      config: The configuration.
      began: Start time of the program, from `time.monotonic`; None for now.
      watchers: What receives each round besides trackers. An error of theirs ends the training.
      keeps_model: Whether the trained model is written. Without it, the run has only its figures.

    Raises:
      UserError: If a flag, a file or a row is wrong.
      RunError: If training fails.
    """
    began = time.monotonic() if began is None else began
    seed = config.rounds.seed
    texts = data.load_data(
        config.corpus,
        seed,
        config.place.cache_dir,
        public=config.distillation if config.distils else None,
    )
    reporter.say("corpus", texts.describe())
    clients = data.resolve_partition(config.clients, texts.train)
    resolved = privacy_plan.resolve(dataclasses.replace(config, clients=clients))
    reporter.say("note", configs.without_effect(*resolved.recorded()))
    recorded = {**options.record(*resolved.recorded()), **texts.fingerprints()}
    described = options.record(config.corpus)
    path = run_paths.output_dir(config.place.output_dir, config.corpus.corpus, recorded, described)
    # A resumed run keeps its clients.
    holders = saved_partitions.read(path, texts.train)
    if holders is None:
        holders = data.split_clients(resolved.clients, texts.train, seed)
    split = holders.split
    reporter.say("clients", holders.lines())
    alone.clients(resolved, texts.train, split)
    violations = conduct.check(resolved)
    plan = None
    if config.privacy.dp != names.NONE:
        plan = privacy_plan.plan(resolved, split.train, violations)
        reporter.say("privacy", plan.lines)
    rules = configuration.Rules(
        # The devices are known only later. They are recorded because other devices round sums
        # differently.
        late=["devices"],
        described=described,
        growing={"rounds": resolved.why_not_longer()},
    )
    with run_directory.RunDirectory(path, recorded, rules) as directory:
        if result.print_status(directory):
            return
        reporter.say("loading", ["TensorFlow and TensorFlow Federated"])
        from tff_nlp.runs import federated_training

        if plan is not None:
            rounds = dataclasses.replace(config.rounds, rounds=plan.rounds)
            resolved = dataclasses.replace(resolved, rounds=rounds)
        federated_training.train(
            resolved,
            texts,
            holders,
            directory,
            recorded,
            began,
            plan,
            watchers,
            keeps_model=keeps_model,
        )
