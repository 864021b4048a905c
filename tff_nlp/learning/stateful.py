"""Processes with clients that keep a state between rounds."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf
import tensorflow_federated as tff


class StatefulOutput(NamedTuple):
    """The result of a round.

    Attributes:
      state: The server's next state.
      metrics: The metrics, as in every learning process.
      clients: The new state of each client, in the order of the cohort.
    """

    state: Any
    metrics: Any
    clients: Any


class StatefulProcess(tff.templates.IterativeProcess):
    """A learning process that takes each client's state and returns the new one.

    The arguments of `next` are the server's state and a list with one value per client: the result
    of `client_input.with_values` for the client's batches and state. `next` returns a
    `StatefulOutput`. The caller keeps the client states between rounds: a simulation stores them by
    the client's id (`program.client_states`), and a real client keeps its own.

    Attributes:
      client_specs: The specs of a client's state, a tuple.
    """

    def __init__(
        self,
        initialize: Any,
        next_fn: Any,
        get_model_weights: Any,
        set_model_weights: Any,
        client_specs: Sequence[tf.TensorSpec],
    ) -> None:
        """Initializes the process.

        Args:
          initialize: TFF computation without arguments that returns the server's first state.
          next_fn: TFF computation of a round.
          get_model_weights: TFF computation that returns the weights of a state.
          set_model_weights: TFF computation that returns a state with other weights.
          client_specs: The specs of a client's state.
        """
        super().__init__(initialize, next_fn)
        self.get_model_weights = get_model_weights
        self.set_model_weights = set_model_weights
        self.client_specs = tuple(client_specs)
