"""What a silo computes in a round: the client's part of the computation, on its own data."""

import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import cancellation

from tff_nlp.deployment import wire_form
from tff_nlp.execution import forms, graphs, rewriting, secure_sums, structures
from tff_nlp.program import client_states


class Computation:
    """The client's part of a round.

    Attributes:
      form: The compiled round.
      summands: Its secure sums.
      fetched_specs: The specs of what the silo fetches.
    """

    def __init__(
        self,
        form: forms.RoundForm,
        brought: Callable[[int, Sequence[np.ndarray] | None], Any],
        frozen: Sequence[tf.Tensor],
        name: str,
        states: client_states.ClientStates | None = None,
        state_specs: Sequence[tf.TensorSpec] = (),
    ) -> None:
        """Prepares the graph.

        Args:
          form: The compiled round.
          brought: Function (round from 0, the silo's state or None) -> the silo's input.
          frozen: The frozen weights, which the coordinator does not send.
          name: Name of the silo.
          states: What the silo keeps from round to round; None if the algorithm keeps nothing.
          state_specs: The specs of what it keeps.
        """
        self.form, self.summands = form, secure_sums.summands_of(form)
        self._brought, self._frozen = brought, list(frozen)
        self._name, self._states, self._state_specs = name, states, state_specs
        self._run = _client_function(form, self.summands)
        specs = wire_form.broadcast_specs(form)
        places = wire_form.broadcast_places(form)
        self.fetched_specs = [specs[place] for place in places]
        # Whether each tensor of the broadcast is fetched. The others are frozen.
        self._is_fetched = [place in set(places) for place in range(len(specs))]
        self._sent_places = wire_form.sent_places(form)
        self._update_count = len(wire_form.update_specs(form))
        self._lock = threading.Lock()

    def __call__(
        self,
        number: int,
        taken: int,
        fetched: Sequence[tf.Tensor],
        stop: cancellation.CancellationManager,
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """Computes the silo's part of a round. The same arguments give the same result.

        Args:
          number: The round, from 1.
          taken: The last round whose sum has an update of this silo. Later states are dropped.
          fetched: The weights.
          stop: Cancelling it stops the computation.

        Returns:
          What is sent in the clear, and the inputs of the secure sums.
        """
        with self._lock:  # A round that is given up may still be in the middle of a batch.
            own = None
            if self._states is not None:
                self._states.rewind(taken)
                own = self._states.load(self._name, self._state_specs)
            data = structures.flatten(self._brought(number - 1, own), self.form.data_type)
            results = self._run([*data, *self._whole(fetched)], stop)
            update, secure = results[: self._update_count], results[self._update_count :]
            if self._states is not None:
                (kept,) = self.form.client_values
                arrays = [np.asarray(update[place]) for place in kept]
                self._states.save(self._name, number, arrays)
            return [update[place] for place in self._sent_places], secure

    def _whole(self, fetched: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Returns the broadcast with the frozen weights."""
        sent, frozen = iter(fetched), iter(self._frozen)
        return [next(sent if is_fetched else frozen) for is_fetched in self._is_fetched]


def _client_function(
    form: forms.RoundForm, summands: Sequence[secure_sums.Summand]
) -> graphs.FlatFunction:
    """Returns the function (data, broadcast) -> update, inputs of the secure sums."""
    work = rewriting.with_norms_of_rows(form.work).with_own_resources()
    count = len(wire_form.update_specs(form))

    def run(*inputs: tf.Tensor) -> list[tf.Tensor]:
        results = work.emplace(inputs)
        pairs = zip(summands, results[count:], strict=True)
        checks = list(itertools.chain.from_iterable(s.check(t) for s, t in pairs))
        with tf.control_dependencies(checks):
            return [tf.identity(tensor) for tensor in results]

    return graphs.build_function(run, work.input_specs)
