"""Processes whose clients keep something from round to round."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff


class StatefulOutput(NamedTuple):
    """What a round gives.

    Attributes:
      state: The server's next state.
      metrics: As of any learning process.
      clients: What each client keeps, in the order of the cohort.
    """

    state: Any
    metrics: Any
    clients: Any


class StatefulProcess(tff.templates.IterativeProcess):
    """A learning process that takes each client's state and gives it back, changed.

    `next` is called with the server's state and, per client, what `client_input.with_values` makes
    of the client's batches and its state; it returns a `StatefulOutput`. Who keeps the states,
    between rounds, is up to the caller: a simulation stores them by the client's id
    (`clients.client_states`), a real client keeps its own.

    Attributes:
      client_specs: The specs of what a client keeps, a tuple.
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
          initialize: TFF computation without argument to the server's state.
          next_fn: TFF computation of a round.
          get_model_weights: TFF computation from a state to its weights.
          set_model_weights: TFF computation that puts weights into a state.
          client_specs: The specs of what a client keeps.
        """
        super().__init__(initialize, next_fn)
        self.get_model_weights = get_model_weights
        self.set_model_weights = set_model_weights
        self.client_specs = tuple(client_specs)

    def first_state(self) -> tuple[np.ndarray, ...]:
        """Returns what a client has before it takes part for the first time: zeros."""
        return tuple(np.zeros(s.shape, s.dtype.as_numpy_dtype) for s in self.client_specs)
