"""The virtual clock of a run: which clients take part in each round, and when it ends."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp.clients import devices, partition, virtual_clock
from tff_nlp.execution.ledger import ByteLedger
from tff_nlp.learning.algorithms import fed_buff
from tff_nlp.runs import configs, reporter
from tff_nlp.runs.configs.devices import PARTIAL

# A device holds the weights, and of each trainable one also the gradient and two moments.
_COPIES = 4
_COUNTS = ("asked", "arrived", "late", "vanished")


def schedule(
    run: configs.FederatedRun,
    train: partition.Partition,
    task: Any,
    sent: Callable[[], ByteLedger],
) -> virtual_clock.Schedule | None:
    """Returns the function round -> who takes part and how long it lasts; None without devices.

    Args:
      run: The configuration, resolved.
      train: The clients that train.
      task: The task.
      sent: Function that returns the bytes to and from a client in a round.

    Raises:
      UserError: If the file of devices is wrong, or there are too few clients.
    """
    options = run.devices
    if not options.device_profiles:
        return None
    seed, cohort = run.rounds.seed, run.clients.clients_per_round
    found = _devices(options.device_profiles, train, seed)
    trainable, frozen = (sum(s.shape.num_elements() for s in p) for p in task.weight_specs())
    found = found.needing(4 * (_COPIES * trainable + frozen))
    reporter.say("devices", [found.describe()])
    bytes_of = sent()
    durations = found.seconds(_examples(run, train), bytes_of.down, bytes_of.up)
    if run.federated.algorithm == "fedbuff":
        return virtual_clock.BufferedRounds(
            found,
            durations,
            buffer=cohort,
            concurrency=options.concurrency or 2 * cohort,
            seed=seed,
        )
    return virtual_clock.SynchronousRounds(
        found,
        durations,
        found.seconds(np.zeros([train.num_clients]), bytes_of.down, bytes_of.up),
        virtual_clock.Waiting(
            cohort,
            options.over_selection,
            options.round_deadline,
            options.stragglers == PARTIAL,
        ),
        seed,
    )


def row(found: virtual_clock.Round) -> Mapping[str, float]:
    """Returns the values of a round for metrics.csv."""
    return {
        "virtual_seconds": found.seconds,
        "asked_clients": found.selected,
        "arrived_clients": int(found.arrives.sum()),
        "late_clients": found.late,
        "vanished_clients": found.vanished,
        "mean_staleness": float(found.staleness[found.arrives].mean()),
    }


def result(rows: Sequence[Mapping[str, str]]) -> dict[str, Any] | None:
    """Returns the entry of result.json; None for a run without devices.

    Args:
      rows: Rows of metrics.csv.
    """
    if not rows or not rows[-1].get("virtual_seconds"):
        return None
    counts = {name: sum(int(row[f"{name}_clients"]) for row in rows) for name in _COUNTS}
    seconds = float(rows[-1]["virtual_seconds"])
    staleness = [float(row["mean_staleness"]) for row in rows]
    line = (
        f"{seconds:,.0f} s on the devices; {counts['asked']:,} clients asked, "
        f"{counts['arrived']:,} updates arrived, {counts['late']:,} late, "
        f"{counts['vanished']:,} vanished"
    )
    if any(staleness):
        line += f"; mean staleness {np.mean(staleness):.2f}"
    return {
        "seconds": seconds,
        **counts,
        "mean_staleness": float(np.mean(staleness)),
        "line": line,
    }


def job(found: virtual_clock.Round, client: int) -> np.ndarray:
    """Returns what a client does in a round of FedBuff, see `client_input.JOB`."""
    place = int(np.searchsorted(found.clients, client))
    arrives = float(found.arrives[place]) * fed_buff.discount(found.staleness[place])
    return np.array([found.begins[place], arrives], np.float32)


def share(found: virtual_clock.Round, client: int) -> float:
    """Returns the part of its local work that a client does in a round."""
    return float(found.shares[np.searchsorted(found.clients, client)])


def shortened(batches: tf.data.Dataset, part: float) -> tf.data.Dataset:
    """Returns the first batches of a client that does a part of its work, at least one.

    Args:
      batches: The batches of a round.
      part: The part, above 0 and at most 1.
    """
    if part >= 1:
        return batches
    return batches.take(max(1, int(part * sum(1 for _ in batches))))


def _devices(profiles: str, train: partition.Partition, seed: int) -> devices.Devices:
    if profiles in devices.PROFILES:
        return devices.drawn(profiles, train.num_clients, seed)
    return devices.read(pathlib.Path(profiles), train.client_ids, seed)


def _examples(run: configs.FederatedRun, train: partition.Partition) -> np.ndarray:
    """Returns how many examples each client trains on in a round, float64[clients]."""
    steps, size = run.federated.local_steps, run.client_training.batch_size
    if steps is None:
        return np.asarray(train.sizes, float) * run.federated.client_epochs
    return float(steps) * np.minimum(train.sizes, size)
