"""What each client of a run brings to a round: its batches, and the other values of its input."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp.clients import client_data, partition, virtual_clock
from tff_nlp.learning import client_input
from tff_nlp.runs import attackers, canary_clients, client_ranks, configs, device_rounds
from tff_nlp.runs.drawing import Drawing


def build(
    run: configs.FederatedRun,
    train: partition.Partition,
    batch_spec: Any,
    populations: Sequence[client_data.TokenClientData],
    poisoned: Sequence[client_data.TokenClientData],
    drawing: Drawing,
    *,
    attacking: attackers.Attackers | None,
    schedule: virtual_clock.Schedule | None,
) -> Callable[..., Any]:
    """Returns the function (client, round) -> input of the client.

    Args:
      run: The configuration.
      train: The clients that train.
      batch_spec: The specs of a batch.
      populations: The batches of all clients, for each kind of model.
      poisoned: The same as attackers see them; empty if they train on what they have.
      drawing: The random choices of the rounds.
      attacking: The attackers; None without attackers.
      schedule: The virtual clock; None without devices.
    """
    kinds, ranks = len(populations), client_ranks.drawn(run, train.num_clients)
    marks = None if attacking is None else attacking.attacks
    asynchronous = run.federated.algorithm == "fedbuff"

    def dataset(client: int, number: int) -> tf.data.Dataset:
        found = None if schedule is None else schedule(number)
        if asynchronous and found is not None and not device_rounds.job(found, client)[0]:
            return client_input.no_elements(batch_spec)
        of_attacker = bool(poisoned) and marks is not None and marks[client]
        own = (poisoned if of_attacker else populations)[client % kinds]
        batches = own.round_dataset(client, drawing.order(number))
        if found is None:
            return batches
        return device_rounds.shortened(batches, device_rounds.share(found, client))

    values: dict[str, canary_clients.Value] = {client_input.NOISE_KEY: drawing.key}
    if kinds > 1:
        values[client_input.KIND] = lambda client, _: np.int32(client % kinds)
    if ranks is not None:
        values[client_input.RANK] = lambda client, _: tf.constant(ranks[client])
    if marks is not None:
        # Canaries follow the real clients, and do not attack.
        values[client_input.ATTACKS] = lambda client, _: tf.constant(
            bool(client < len(marks) and marks[client])
        )
    if asynchronous and schedule is not None:
        values[client_input.JOB] = lambda client, number: device_rounds.job(
            schedule(number), client
        )
    return canary_clients.with_canaries(
        dataset, train, batch_spec, audited=bool(run.privacy.audit_canaries), values=values
    )
