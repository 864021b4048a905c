"""LoRA: a matrix W of a frozen network becomes W + (alpha / rank) A B, and only A and B train.

Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models", section 4.1. A has random
values and B is zero, so the network computes the same as before until it trains.

With `core`, A and B are frozen, too, and only a matrix R between them trains: W + (alpha / rank)
A R B. A and B come from the singular values of W (Bałazy et al. 2024, "LoRA-XS", section 3). The
mean of R over clients is exact (Singhal et al. 2025, "Fed-SB", section 4).
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp import seeds
from tff_nlp.errors import UserError, setting
from tff_nlp.models.adapters.names import MATRICES


@dataclasses.dataclass(frozen=True)
class Lora:
    """Options of LoRA.

    Attributes:
      rank: Number of columns of A.
      alpha: The factor of A B is alpha / rank.
      matrices: Names of the matrices in each layer that change, of `names.MATRICES`.
      freezes_a: Whether A keeps its random values, so that only B trains (Sun et al. 2024,
        "Improving LoRA in Privacy-preserving Federated Learning", section 3).
      core: Whether only a matrix between A and B trains.
    """

    rank: int = 8
    alpha: float = 16.0
    matrices: tuple[str, ...] = ("query", "value")
    freezes_a: bool = False
    core: bool = False


@dataclasses.dataclass(frozen=True)
class Factors:
    """The places of a pair of trained factors and of the frozen matrix that they change.

    Attributes:
      a: Index of A in the trainable weights.
      b: Index of B in the trainable weights.
      kernel: Index of the matrix in the frozen weights.
      scale: The factor of A B.
    """

    a: int
    b: int
    kernel: int
    scale: float


class LowRankDense(tf.keras.layers.Layer):
    """A dense layer with low-rank factors beside its kernel.

    Args:
      dense: A built `Dense` or `EinsumDense` layer.
      options: The options.
      seed: Seed of the run.
      place: Number of the transformer layer, so that each has other random values.

    Raises:
      UserError: If the rank is larger than the kernel allows.
    """

    def __init__(self, dense: Any, options: Lora, seed: int, place: int) -> None:
        super().__init__(name=dense.name, dtype=dense._dtype_policy)
        self.dense = dense
        self._inner = _contracted_axes(dense)
        shape = tuple(dense.kernel.shape)
        inputs, outputs = shape[: self._inner], shape[self._inner :]
        rows, columns = int(np.prod(inputs)), int(np.prod(outputs))
        if not 1 <= options.rank <= min(rows, columns):
            raise UserError(
                f"`lora_rank`={options.rank}: must be from 1 to {min(rows, columns)} for the "
                f"matrix {dense.name}"
            )
        self.scale = options.alpha / options.rank
        if options.core:
            a, b = _principal_factors(dense.kernel.numpy().reshape(rows, columns), options.rank)
        else:
            a = _uniform(rows, options.rank, seed, place, dense.name)
            b = np.zeros([options.rank, columns], np.float32)
        self.lora_a = self._weight("lora_a", a.reshape(*inputs, options.rank))
        self.lora_b = self._weight("lora_b", b.reshape(options.rank, *outputs))
        self.lora_core = None
        if options.core:
            self.lora_core = self._weight("lora_core", np.zeros([options.rank] * 2, np.float32))
        # Set to true while a network is called with the factors folded into its kernels.
        self.is_folded = False
        self.built = True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Returns the output of the dense layer with the changed kernel."""
        if self.is_folded:
            return self.dense(inputs)
        hidden = tf.tensordot(inputs, tf.cast(self.lora_a, inputs.dtype), self._inner)
        if self.lora_core is not None:
            hidden = tf.tensordot(hidden, tf.cast(self.lora_core, hidden.dtype), 1)
        added = self.scale * tf.tensordot(hidden, tf.cast(self.lora_b, hidden.dtype), 1)
        if self.dense.activation in (None, tf.keras.activations.linear):
            return self.dense(inputs) + added
        plain = tf.tensordot(inputs, self.dense.kernel, self._inner)
        if self.dense.bias is not None:
            plain += self.dense.bias
        return self.dense.activation(plain + added)

    def factors(self) -> list[tf.Variable]:
        """Returns the variables of A, of the matrix between them if there is one, and of B."""
        core = [] if self.lora_core is None else [self.lora_core]
        return [self.lora_a, *core, self.lora_b]

    def _weight(self, name: str, value: np.ndarray) -> tf.Variable:
        variable = self.add_weight(name, value.shape, tf.float32, "zeros")
        variable.assign(value)
        return variable


def attach(backbone: Any, options: Lora, seed: int) -> list[LowRankDense]:
    """Puts factors beside matrices of all transformer layers of a backbone.

    Args:
      backbone: A built KerasNLP backbone.
      options: The options.
      seed: Seed of the run.

    Returns:
      The new layers.

    Raises:
      UserError: If the network has no such matrix, or the rank is not possible.
    """
    added = []
    for place, layer in enumerate(backbone.transformer_layers):
        for name in options.matrices:
            owner, attribute = _owner(layer, name)
            wrapped = LowRankDense(getattr(owner, attribute), options, seed, place)
            setattr(owner, attribute, wrapped)
            added.append(wrapped)
    return added


def factors_of(
    layers: Sequence[LowRankDense], trainable: Sequence[Any], frozen: Sequence[Any]
) -> tuple[Factors, ...]:
    """Returns the pairs of factors of which both train.

    Args:
      layers: The layers with factors.
      trainable: The trainable variables.
      frozen: The frozen variables.
    """
    trained = {id(variable): index for index, variable in enumerate(trainable)}
    fixed = {id(variable): index for index, variable in enumerate(frozen)}
    return tuple(
        Factors(
            trained[id(layer.lora_a)],
            trained[id(layer.lora_b)],
            fixed[id(layer.dense.kernel)],
            layer.scale,
        )
        for layer in layers
        if id(layer.lora_a) in trained and id(layer.lora_b) in trained
    )


def fold(kernel: np.ndarray, factors: Sequence[np.ndarray], scale: float) -> np.ndarray:
    """Returns a kernel with the product of its factors added, float32.

    Args:
      kernel: The kernel.
      factors: A and B, or A, R and B.
      scale: The factor of their product, alpha / rank.
    """
    product = factors[0]
    for factor in factors[1:]:
        product = np.tensordot(product, factor, 1)
    return (kernel + scale * product).astype(np.float32)


def _owner(layer: Any, name: str) -> tuple[Any, str]:
    """Returns the layer and its attribute that hold a matrix."""
    *path, attribute = MATRICES[name]
    owner = layer
    for step in path:
        owner = getattr(owner, step)
    if not hasattr(owner, attribute):
        found = [n for n in MATRICES if _has(layer, n)]
        raise UserError(
            f"{setting('lora_matrices', name)}: this network has no such matrix; it has "
            f"{', '.join(found)}"
        )
    return owner, attribute


def _has(layer: Any, name: str) -> bool:
    for step in MATRICES[name]:
        if not hasattr(layer, step):
            return False
        layer = getattr(layer, step)
    return True


def _contracted_axes(dense: Any) -> int:
    """Returns how many of the kernel's first axes are summed over."""
    equation = getattr(dense, "equation", None)
    if equation is None:
        return 1
    operands, result = equation.split("->")
    kernel = operands.split(",")[1]
    count = sum(letter not in result for letter in kernel)
    if any(letter in result for letter in kernel[:count]):
        raise ValueError(f"{dense.name}: the kernel of {equation} has its sums not in front")
    return count


def _uniform(rows: int, rank: int, seed: int, place: int, name: str) -> np.ndarray:
    """Returns A, uniform within 1 / sqrt(rows), as PyTorch initializes a linear layer."""
    generator = seeds.generator(seed, "initial_weights", "lora", place, name)
    bound = rows**-0.5
    return generator.uniform(-bound, bound, [rows, rank]).astype(np.float32)


def _principal_factors(kernel: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns A = U S and B = V^T of the largest singular values of a kernel."""
    left, singular, right = np.linalg.svd(kernel.astype(np.float64), full_matrices=False)
    # The sign of a pair of singular vectors is arbitrary and may differ between machines.
    signs = np.sign(left[np.abs(left).argmax(axis=0), np.arange(left.shape[1])])
    signs[signs == 0] = 1.0
    a = (left * (singular * signs))[:, :rank]
    b = (right * signs[:, np.newaxis])[:rank]
    return a.astype(np.float32), b.astype(np.float32)
