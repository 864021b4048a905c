"""Runs many silos as threads of one process, for `benchmarks.federation`.

Each silo has its own keys, folder, texts and connection. They share one computation, which each
real silo builds for itself: a hundred copies of it do not fit into a machine.
"""

import dataclasses
import json
import pathlib
import sys
import threading
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

from tff_nlp.deployment import silo_work
from tff_nlp.execution import forms, graphs, secure_sums
from tff_nlp.runs import federation_task, silo_run
from tff_nlp.runs.configs import federation

P = ParamSpec("P")
T = TypeVar("T")


def main() -> None:
    """Approves the plan for each silo, and takes part with all of them."""
    asked = json.loads(sys.argv[1])
    folder = pathlib.Path(asked["folder"])
    runs = {
        name: federation.SiloConfig(
            coordinator=asked["coordinator"],
            identity=str(folder / "keys" / "silos" / name),
            silo_dir=str(folder / name),
            encoder_folder=asked["encoder_folder"],
        )
        for name in asked["silos"]
    }
    _share_the_computation()
    for approve in (True, False):
        failed: list[BaseException] = []
        threads = [
            threading.Thread(target=_run, args=(name, silo, folder, approve, failed))
            for name, silo in runs.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            sys.exit(str(failed[0]))


def _run(
    name: str,
    silo: federation.SiloConfig,
    folder: pathlib.Path,
    approve: bool,
    failed: list[BaseException],
) -> None:
    texts = federation.OwnTextsConfig(corpus=str(folder / f"{name}.csv"))
    try:
        silo_run.run(silo_run.SiloRun(dataclasses.replace(silo, approve=approve), texts))
    except BaseException as error:  # noqa: BLE001 - A thread must not hide it.
        failed.append(error)


def _share_the_computation() -> None:
    federation_task.build = _once(federation_task.build)
    prepare = silo_work._client_function

    def one_at_a_time(
        form: forms.RoundForm, summands: Sequence[secure_sums.Summand]
    ) -> graphs.FlatFunction:
        # A hundred runs at once would wait for each other's threads.
        return dataclasses.replace(prepare(form, summands), lock=threading.Lock())

    silo_work._client_function = _once(one_at_a_time)


def _once(function: Callable[P, T]) -> Callable[P, T]:
    """Returns a function that runs once, and gives the same result to every thread."""
    lock = threading.Lock()
    results: list[T] = []

    def shared(*arguments: P.args, **named: P.kwargs) -> T:
        with lock:
            if not results:
                results.append(function(*arguments, **named))
            return results[0]

    return shared


if __name__ == "__main__":
    main()
