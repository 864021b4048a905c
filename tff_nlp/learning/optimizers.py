"""Client and server optimizers.

Client optimizers are functions of lists of tensors instead of `tff.learning.optimizers`, for two
reasons. The client's token embedding has as many rows as the client has distinct tokens, a number
that no tensor spec can state in advance; and weight decay must leave biases and layer
normalisation alone, which TFF's AdamW cannot be told.
"""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf
import tensorflow_federated as tff

from tff_nlp import errors

OptimizerState = tuple[tf.Tensor, ...]

CLIENT_OPTIMIZERS = ("sgd", "adamw")
SERVER_OPTIMIZERS = ("sgd", "adam", "yogi", "adagrad")


@dataclasses.dataclass(frozen=True)
class ClientOptimizer:
    """How a client steps; its state starts afresh in every round.

    Attributes:
      name: "sgd" (with momentum) or "adamw" (Loshchilov & Hutter 2019, Algorithm 2).
      learning_rate: Step size before the schedule.
      momentum: Of "sgd": velocity = momentum * velocity + gradient.
      weight_decay: Of "adamw", decoupled; applied to kernels and embeddings only, and of the token
        embedding to the rows of the client's own tokens.
      beta_1: Decay of the first moment of "adamw".
      beta_2: Decay of the second moment of "adamw".
      epsilon: Added to the root of the second moment of "adamw".
      clip_norm: Largest global L2 norm of a batch's gradient, or None.
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
                f"--client_optimizer={self.name}: choose one of {', '.join(CLIENT_OPTIMIZERS)}"
            )
        _check_rate("--client_learning_rate", self.learning_rate)
        if not 0 <= self.momentum < 1:
            raise errors.UserError(f"--client_momentum={self.momentum}: must be in [0, 1)")
        if self.weight_decay < 0:
            raise errors.UserError(f"--client_weight_decay={self.weight_decay}: must be 0 or more")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise errors.UserError(f"--client_clip_norm={self.clip_norm}: must be above 0")

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
          state: From `initial_state` or the step before.
          weights: Trainable weights.
          gradients: Their gradients, dense, of the same shapes.
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
        # The bias corrections of both moments, moved into step size and epsilon: two passes over
        # the weights less, the same update.
        correction_2 = tf.sqrt(1.0 - tf.pow(self.beta_2, steps))
        rate = learning_rate * correction_2 / (1.0 - tf.pow(self.beta_1, steps))
        epsilon = self.epsilon * correction_2
        new_firsts, new_seconds, new_weights = [], [], []
        for m, v, w, g, decay in zip(firsts, seconds, weights, gradients, decayed, strict=True):
            m = self.beta_1 * m + (1.0 - self.beta_1) * g
            v = self.beta_2 * v + (1.0 - self.beta_2) * tf.square(g)
            if decay and self.weight_decay:
                w = w * (1.0 - learning_rate * self.weight_decay)
            new_firsts.append(m)
            new_seconds.append(v)
            new_weights.append(w - rate * m / (tf.sqrt(v) + epsilon))
        return (steps, *new_firsts, *new_seconds), tuple(new_weights)


@dataclasses.dataclass(frozen=True)
class ServerOptimizer:
    """How the server applies the aggregated update (Reddi et al. 2021, Algorithm 2).

    Attributes:
      name: "sgd" (with momentum), "adam", "yogi" or "adagrad".
      learning_rate: Step size; 1.0 with "sgd" and no momentum is plain FedAvg.
      momentum: Of "sgd".
      beta_1: Of "adam" and "yogi".
      beta_2: Of "adam" and "yogi".
      epsilon: The adaptivity tau of Reddi et al.; their advice is 1e-3.
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
                f"--server_optimizer={self.name}: choose one of {', '.join(SERVER_OPTIMIZERS)}"
            )
        _check_rate("--server_learning_rate", self.learning_rate)
        if not 0 <= self.momentum < 1:
            raise errors.UserError(f"--server_momentum={self.momentum}: must be in [0, 1)")

    def build(self) -> tff.learning.optimizers.Optimizer:
        """Returns TFF's optimizer of this name and these values."""
        optimizers = tff.learning.optimizers
        if self.name == "sgd":
            return optimizers.build_sgdm(self.learning_rate, self.momentum or None)
        if self.name == "adagrad":
            return optimizers.build_adagrad(
                self.learning_rate, initial_preconditioner_value=0.0, epsilon=self.epsilon
            )
        build = optimizers.build_adam if self.name == "adam" else optimizers.build_yogi
        return build(self.learning_rate, self.beta_1, self.beta_2, self.epsilon)


def _check_rate(flag: str, value: float) -> None:
    if not 0 < value < float("inf"):
        raise errors.UserError(f"{flag}={value}: must be above 0 and finite")
