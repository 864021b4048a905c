"""Client and server optimizers.

Client optimizers are functions of lists of tensors instead of `tff.learning.optimizers`, for two
reasons. First, the client's token embedding has as many rows as the client has distinct tokens.
This number is unknown in advance, but TFF's optimizers need it in their specs. Second, weight decay
must not apply to biases and layer normalisation, and TFF's AdamW cannot exclude them.
"""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp import errors
from tff_nlp.learning import suitability

OptimizerState = tuple[tf.Tensor, ...]

CLIENT_OPTIMIZERS = ("sgd", "adamw")
SERVER_OPTIMIZERS = ("sgd", "adam", "yogi", "adagrad")


class LocalOptimizer(Protocol):
    """The methods of an optimizer that local training calls."""

    def initial_state(self, weights: Sequence[tf.Tensor]) -> OptimizerState:
        """Returns the state before the first step."""

    def step(
        self,
        state: OptimizerState,
        weights: Sequence[tf.Tensor],
        gradients: Sequence[tf.Tensor],
        learning_rate: tf.Tensor,
        decayed: Sequence[bool],
    ) -> tuple[OptimizerState, tuple[tf.Tensor, ...]]:
        """Returns the new state and the new weights (see `ClientOptimizer.step`)."""


@dataclasses.dataclass(frozen=True)
class ClientOptimizer:
    """The optimizer of a client. Its state starts anew in every round.

    Attributes:
      name: "sgd" (with momentum) or "adamw" (Loshchilov & Hutter 2019, Algorithm 2).
      learning_rate: Step size before the schedule.
      momentum: Momentum of "sgd": velocity = momentum * velocity + gradient.
      weight_decay: Decoupled weight decay of "adamw". It applies to kernels and embeddings only; in
        the token embedding, only to the rows of the client's own tokens.
      beta_1: Decay of the first moment of "adamw".
      beta_2: Decay of the second moment of "adamw".
      epsilon: Added to the root of the uncorrected second moment of "adamw", as TFF and Keras do
        ("epsilon hat" in section 2 of Kingma & Ba 2015).
      clip_norm: Global L2 norm to which a batch's gradient is clipped; None for no clipping.
    """

    name: str = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.0
    weight_decay: float = 0.0
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-7
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        if self.name not in CLIENT_OPTIMIZERS:
            raise errors.UserError(
                f"{errors.setting('client_optimizer', self.name)}: choose one of "
                f"{', '.join(CLIENT_OPTIMIZERS)}"
            )
        _check_above_zero("client_learning_rate", self.learning_rate)
        _check_momentum("client", self.name, self.momentum)
        _check_moments("client", self.beta_1, self.beta_2, self.epsilon)
        if not 0 <= self.weight_decay < float("inf"):
            raise errors.UserError(
                f"`client_weight_decay`={self.weight_decay}: must be 0 or more, and finite"
            )
        if self.weight_decay and self.name != "adamw":
            raise errors.UserError(
                f"`client_weight_decay`={self.weight_decay}: only `client_optimizer`=adamw uses it"
            )
        if self.clip_norm is not None:
            _check_above_zero("client_clip_norm", self.clip_norm)

    def check_for(self, algorithm: str) -> None:
        """Raises UserError if clients of an algorithm cannot train with this optimizer."""
        suitability.check_client_optimizer(
            algorithm,
            self.name,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            clip_norm=self.clip_norm,
        )

    def base(self) -> tff.learning.optimizers.Optimizer:
        """Returns TFF's optimizer, for algorithms with its state at the server.

        It has no weight decay and no clipping.
        """
        if self.name == "sgd":
            return tff.learning.optimizers.build_sgdm(self.learning_rate, self.momentum or None)
        return tff.learning.optimizers.build_adam(
            self.learning_rate, self.beta_1, self.beta_2, self.epsilon
        )

    def initial_state(self, weights: Sequence[tf.Tensor]) -> OptimizerState:
        """Returns the state before the first step: zeros shaped like the weights."""
        if self.name == "sgd":
            return tuple(tf.zeros_like(w) for w in weights) if self.momentum else ()
        moments = tuple(tf.zeros_like(w) for _ in range(2) for w in weights)
        return (tf.zeros([], tf.float32), *moments)

    def step(
        self,
        state: OptimizerState,
        weights: Sequence[tf.Tensor],
        gradients: Sequence[tf.Tensor],
        learning_rate: tf.Tensor,
        decayed: Sequence[bool],
    ) -> tuple[OptimizerState, tuple[tf.Tensor, ...]]:
        """Takes one step.

        Args:
          state: Result of `initial_state`, or the state after the previous step.
          weights: Trainable weights.
          gradients: Dense gradients, with the shapes of the weights.
          learning_rate: float32 scalar, this round's step size.
          decayed: For each weight, whether weight decay applies to it.

        Returns:
          The new state and the new weights.
        """
        if self.clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(list(gradients), self.clip_norm)
        if self.name == "sgd":
            return self._sgd_step(state, weights, gradients, learning_rate)
        return self._adamw_step(state, weights, gradients, learning_rate, decayed)

    def _sgd_step(
        self,
        state: OptimizerState,
        weights: Sequence[tf.Tensor],
        gradients: Sequence[tf.Tensor],
        learning_rate: tf.Tensor,
    ) -> tuple[OptimizerState, tuple[tf.Tensor, ...]]:
        if self.momentum:
            gradients = state = tuple(
                self.momentum * v + g for v, g in zip(state, gradients, strict=True)
            )
        return state, tuple(w - learning_rate * g for w, g in zip(weights, gradients, strict=True))

    def _adamw_step(
        self,
        state: OptimizerState,
        weights: Sequence[tf.Tensor],
        gradients: Sequence[tf.Tensor],
        learning_rate: tf.Tensor,
        decayed: Sequence[bool],
    ) -> tuple[OptimizerState, tuple[tf.Tensor, ...]]:
        steps = state[0] + 1.0
        firsts, seconds = state[1 : 1 + len(weights)], state[1 + len(weights) :]
        # The step size contains the bias corrections of both moments.
        correction = tf.sqrt(1.0 - tf.pow(self.beta_2, steps)) / (1.0 - tf.pow(self.beta_1, steps))
        rate = learning_rate * correction
        new_firsts, new_seconds, new_weights = [], [], []
        for m, v, w, g, decay in zip(firsts, seconds, weights, gradients, decayed, strict=True):
            m = self.beta_1 * m + (1.0 - self.beta_1) * g
            v = self.beta_2 * v + (1.0 - self.beta_2) * tf.square(g)
            if decay and self.weight_decay:
                w = w * (1.0 - learning_rate * self.weight_decay)
            new_firsts.append(m)
            new_seconds.append(v)
            new_weights.append(w - rate * m / (tf.sqrt(v) + self.epsilon))
        return (steps, *new_firsts, *new_seconds), tuple(new_weights)


@dataclasses.dataclass(frozen=True)
class ServerOptimizer:
    """How the server applies the aggregated update (Reddi et al. 2021, Algorithm 2).

    Attributes:
      name: "sgd" (with momentum), "adam", "yogi" or "adagrad".
      learning_rate: Step size. The value 1.0 with "sgd" and no momentum is plain FedAvg.
      momentum: Momentum of "sgd".
      beta_1: Decay of the first moment of "adam" and "yogi". Both correct the bias of their
        moments.
      beta_2: Decay of the second moment of "adam" and "yogi".
      epsilon: The adaptivity tau of Reddi et al., who recommend 1e-3. "adam" and "yogi" divide by
        sqrt(v) + tau; v starts at 0 for "adam" and at tau^2 for "yogi". "adagrad" divides by
        sqrt(v); v starts at tau^2.
    """

    name: str = "sgd"
    learning_rate: float = 1.0
    momentum: float = 0.0
    beta_1: float = 0.9
    beta_2: float = 0.99
    epsilon: float = 1e-3

    def __post_init__(self) -> None:
        if self.name not in SERVER_OPTIMIZERS:
            raise errors.UserError(
                f"{errors.setting('server_optimizer', self.name)}: choose one of "
                f"{', '.join(SERVER_OPTIMIZERS)}"
            )
        _check_above_zero("server_learning_rate", self.learning_rate)
        _check_momentum("server", self.name, self.momentum)
        _check_moments("server", self.beta_1, self.beta_2, self.epsilon)

    def build(self) -> tff.learning.optimizers.Optimizer:
        """Returns TFF's optimizer with this name and these values."""
        optimizers = tff.learning.optimizers
        if self.name == "sgd":
            return optimizers.build_sgdm(self.learning_rate, self.momentum or None)
        # TFF adds the epsilon of Adagrad under the root, where 1e-3 would have the effect of 0.03.
        if self.name == "adagrad":
            return optimizers.build_adagrad(self.learning_rate, self.epsilon**2, epsilon=0.0)
        moments = (self.learning_rate, self.beta_1, self.beta_2, self.epsilon)
        if self.name == "adam":
            return optimizers.build_adam(*moments)
        return optimizers.build_yogi(*moments, initial_preconditioner_value=self.epsilon**2)


def _check_above_zero(flag: str, value: float) -> None:
    if not 0 < value < float("inf"):
        raise errors.UserError(f"{errors.setting(flag, value)}: must be above 0 and finite")


def _check_momentum(side: str, name: str, momentum: float) -> None:
    if not 0 <= momentum < 1:
        raise errors.UserError(f"`{side}_momentum`={momentum}: must be in [0, 1)")
    if momentum and name != "sgd":
        raise errors.UserError(f"`{side}_momentum`={momentum}: only `{side}_optimizer`=sgd uses it")


def _check_moments(side: str, beta_1: float, beta_2: float, epsilon: float) -> None:
    for key, value in (("beta_1", beta_1), ("beta_2", beta_2)):
        if not 0 <= value < 1:
            raise errors.UserError(f"`{side}_{key}`={value}: must be in [0, 1)")
    # With epsilon 0, a weight that never had a gradient would cause a division by zero.
    _check_above_zero(f"{side}_epsilon", epsilon)
