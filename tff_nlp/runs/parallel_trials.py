"""Trains several trials of a search at the same time, each in a process of Ray."""

import optuna
import ray

from tff_nlp.execution import ray_cluster, streaming
from tff_nlp.runs import configs, reporter, trial_study


def train(
    search: trial_study.Search,
    study: optuna.Study,
    run: configs.FederatedRun,
    count: int,
    seed: int,
    processes: int,
) -> None:
    """Trains all trials that are not finished.

    Args:
      search: The search.
      study: Its study.
      run: The configuration that all trials share.
      count: Number of all trials.
      seed: Seed of the values.
      processes: Number of trials at the same time.
    """
    mine = ray_cluster.connect(run.execution.ray_address)
    cores = max(1, streaming.cores() // processes)
    # A process ends with its trial, so that its memory is free for the next one.
    remote = ray.remote(num_cpus=cores, max_calls=1, max_retries=0)(trial_study.train)
    waiting: list[ray.ObjectRef] = []
    try:
        for trial in trial_study.trials(search, study, count, seed):
            reporter.say("trial", [f"{trial.number + 1} begins"])
            waiting.append(remote.remote(search, run, trial.number))
            if len(waiting) >= processes:
                waiting = _wait(waiting)
        while waiting:
            waiting = _wait(waiting)
    finally:
        if mine:
            ray.shutdown()


def _wait(waiting: list[ray.ObjectRef]) -> list[ray.ObjectRef]:
    """Waits for one trial, and returns the others."""
    done, others = ray.wait(waiting, num_returns=1)
    ray.get(done)
    return others
