"""A Keras model as a pure function of its weights.

A federated client starts from weights that arrive as tensors. Calling the model on those tensors
themselves, instead of assigning them to variables, keeps random initial values, assignments and
resources out of the client's graph, and lets the embedding's gradient stay sparse.
"""

import dataclasses
import math
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp import seeds


@dataclasses.dataclass(frozen=True)
class Weight:
    """A weight of a Keras model and where it is kept.

    Attributes:
      name: Path of layer names and the attribute, "transformer_layer_0/.../query/kernel": unique
        in its model, unlike the variable's own name.
      layer: The layer that owns the variable.
      attribute: The layer's attribute that holds the variable.
      variable: The variable.
    """

    name: str
    layer: tf.keras.layers.Layer
    attribute: str
    variable: tf.Variable


class WeightsAsValues:
    """What models have in common whose weights are values: counts, specs and initial values.

    Attributes:
      trainable_names: Unique names of the weights that train.
    """

    trainable_names: tuple[str, ...]
    # Those that train, then those that do not.
    _weights: tuple[Weight, ...]

    @property
    def trainable_parameters(self) -> int:
        """The number of numbers that train, and are uploaded; a tied table counts once."""
        return _count(self._weights[: len(self.trainable_names)])

    @property
    def frozen_parameters(self) -> int:
        """The number of numbers that are used but do not train."""
        return _count(self._weights[len(self.trainable_names) :])

    def weight_specs(self) -> tuple[tuple[tf.TensorSpec, ...], tuple[tf.TensorSpec, ...]]:
        """Returns the specs of the trainable and the frozen weights, without copying any weight."""
        specs = [tf.TensorSpec(w.variable.shape, w.variable.dtype) for w in self._weights]
        count = len(self.trainable_names)
        return tuple(specs[:count]), tuple(specs[count:])

    def initial_weights(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Returns float32 arrays (trainable, frozen), in the order of the names.

        They are the present weights of `keras_model`: those it was built with, unless `fit` or the
        like has changed them.
        """
        values = [weight.variable.numpy() for weight in self._weights]
        count = len(self.trainable_names)
        return values[:count], values[count:]


def _count(weights: Sequence[Weight]) -> int:
    return sum(math.prod(weight.variable.shape) for weight in weights)


def weights_of(model: tf.keras.Model) -> tuple[Weight, ...]:
    """Returns the weights of a built model, each once, in the order of its layers."""
    found: dict[int, Weight] = {}
    for path, layer in _walk(model, ""):
        own = {id(v) for v in (*layer._trainable_weights, *layer._non_trainable_weights)}
        for attribute, value in vars(layer).items():
            if isinstance(value, tf.Variable) and id(value) in own:
                found.setdefault(id(value), Weight(path + attribute, layer, attribute, value))
    names = {weight.name for weight in found.values()}
    lost = {id(variable) for variable in model.weights} - set(found)
    if lost or len(names) != len(found):
        raise ValueError(f"{model.name}: {len(lost)} weights are no attribute of a layer")
    return tuple(found.values())


def set_trainable(chosen: Sequence[Weight], rest: Sequence[Weight]) -> None:
    """Tells Keras what trains, weight by weight: its layers only know all or nothing."""
    for weight in (*chosen, *rest):
        layer = weight.layer
        for kept in (layer._trainable_weights, layer._non_trainable_weights):
            kept[:] = [variable for variable in kept if variable is not weight.variable]
    for weight in chosen:
        weight.layer._trainable_weights.append(weight.variable)
    for weight in rest:
        weight.layer._non_trainable_weights.append(weight.variable)


def call(
    model: tf.keras.Model,
    weights: Sequence[Weight],
    values: Sequence[Any],
    inputs: Any,
    *,
    seed: Any | None,
) -> Any:
    """Calls a model with other weights; no variable is created, read or written.

    Args:
      model: A built Keras model.
      weights: All its weights.
      values: A tensor for each weight. Shapes need not be the variable's own where the layer does
        not mind: an embedding table may have other rows.
      inputs: What the model takes.
      seed: int32[2] that decides the dropout, or None to call the model as for inference.

    Returns:
      The model's output.
    """
    if len(weights) != len(values):
        raise ValueError(f"{model.name} has {len(weights)} weights, {len(values)} values given")
    if seed is not None:
        seed = tf.convert_to_tensor(seed, tf.int32)
    # Layers are swapped in place: one trace at a time.
    with _LOCK:
        kept: list[tuple[tf.keras.layers.Layer, str, Any]] = []

        def swap(layer: tf.keras.layers.Layer, attribute: str, value: Any) -> None:
            kept.append((layer, attribute, vars(layer)[attribute]))
            # Into the dict itself: Keras would track what is set through the layer.
            vars(layer)[attribute] = value

        try:
            for weight, value in zip(weights, values, strict=True):
                swap(weight.layer, weight.attribute, _as_read(weight.layer, value))
            if seed is not None:
                for index, layer in enumerate(_dropout_layers(model)):
                    swap(layer, "_random_generator", StatelessDropout(seed, index))
            return model(inputs, training=seed is not None)
        finally:
            for layer, attribute, value in reversed(kept):
                vars(layer)[attribute] = value


_LOCK = threading.RLock()


def _as_read(layer: tf.keras.layers.Layer, value: Any) -> tf.Tensor:
    """Returns a weight as its layer reads it: as Keras's variables cast themselves."""
    tensor = tf.convert_to_tensor(value)
    # These cast by themselves: the one what it has looked up, the other its inputs.
    if isinstance(layer, (tf.keras.layers.Embedding, tf.keras.layers.LayerNormalization)):
        return tensor
    return tf.cast(tensor, layer.compute_dtype)


class StatelessDropout:
    """Stands in for a Keras dropout layer's random generator.

    Args:
      seed: int32[2], the seed of the whole call.
      index: The layer's place among the dropout layers; each has a stream of its own.
    """

    def __init__(self, seed: tf.Tensor, index: int) -> None:
        # Exclusive or with constants that are unrelated from layer to layer: adding the index
        # would give layer 1 at step 0 the stream of layer 0 at step 1.
        salt = seeds.pair(0, "dropout_layer", index)
        self._seed = tf.bitwise.bitwise_xor(seed, tf.constant(salt, tf.int32))

    def dropout(self, inputs: tf.Tensor, rate: float, noise_shape: Any = None) -> tf.Tensor:
        """Zeroes each element with probability `rate`, scales the others by 1 / (1 - rate).

        The rate is rounded to a multiple of 2^-16: an element then needs 16 random bits instead of
        a float's 32, and drawing bits is what takes the time.
        """
        drop = round(rate * 2**16)
        shape = tf.shape(inputs) if noise_shape is None else noise_shape
        size = tf.reduce_prod(shape)
        pairs = tf.random.stateless_uniform(
            [(size + 1) // 2], self._seed, None, None, tf.int32, alg="philox"
        )
        bits = tf.reshape(tf.reshape(tf.bitcast(pairs, tf.int16), [-1])[:size], shape)
        keep = tf.cast(bits >= drop - 2**15, inputs.dtype)
        return inputs * (keep * (2**16 / (2**16 - drop)))


def _dropout_layers(model: tf.keras.Model) -> list[tf.keras.layers.Layer]:
    layers = model._flatten_layers()
    return [layer for layer in layers if isinstance(layer, tf.keras.layers.Dropout)]


def _walk(layer: tf.keras.layers.Layer, prefix: str) -> Iterator[tuple[str, tf.keras.layers.Layer]]:
    """Yields (path with a slash at its end, layer) for the layers below, depth first."""
    for child in layer._flatten_layers(recursive=False, include_self=False):
        path = f"{prefix}{child.name}/"
        yield path, child
        yield from _walk(child, path)
