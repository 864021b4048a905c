"""Calls a Keras model as a pure function of its weights.

A federated client receives weights as tensors. The model is called directly on these tensors; they
are not assigned to variables. So the client's graph contains no random initial values, assignments
or resources, and the embedding's gradient stays sparse.
"""

import dataclasses
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp import seeds

# A layer, the name of an attribute, and a value for it.
Fixed = tuple[tf.keras.layers.Layer, str, Any]


@dataclasses.dataclass(frozen=True)
class Weight:
    """A weight of a Keras model and its place in the model.

    Attributes:
      name: Layer names and the attribute, joined by slashes, such as
        "transformer_layer_0/.../query/kernel". Unlike the variable's own name, it is unique in its
        model.
      layer: The layer that owns the variable.
      attribute: The layer's attribute that holds the variable.
      variable: The variable.
    """

    name: str
    layer: tf.keras.layers.Layer
    attribute: str
    variable: tf.Variable


class WeightsAsValues:
    """Base class of models with weights that are passed as values: counts, specs, initial values.

    Attributes:
      trainable_names: Unique names of the trainable weights.
      frozen_names: Unique names of the frozen weights.
    """

    trainable_names: tuple[str, ...]
    frozen_names: tuple[str, ...]
    # The trainable weights, then the frozen weights.
    _weights: tuple[Weight, ...]
    # The adapter in the network.
    _attached: Any
    # Attributes of layers, with the values that they have while the network is called.
    _fixed: tuple[Fixed, ...]

    @property
    def has_adapter(self) -> bool:
        """Whether there is an adapter in the network."""
        return bool(self._attached.trains)

    @property
    def trainable_parameters(self) -> int:
        """Number of trainable parameters, which clients upload. A tied table counts once."""
        return _count(self._weights[: len(self.trainable_names)])

    @property
    def frozen_parameters(self) -> int:
        """Number of frozen parameters."""
        return _count(self._weights[len(self.trainable_names) :])

    def weight_specs(self) -> tuple[tuple[tf.TensorSpec, ...], tuple[tf.TensorSpec, ...]]:
        """Returns the specs of the trainable and of the frozen weights. No weight is copied."""
        specs = [tf.TensorSpec(w.variable.shape, w.variable.dtype) for w in self._weights]
        count = len(self.trainable_names)
        return tuple(specs[:count]), tuple(specs[count:])

    def initial_weights(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Returns float32 arrays (trainable, frozen), in the order of the names.

        They are the current weights of `keras_model`: the weights at construction, unless `fit` or
        another method has changed them.
        """
        values = [weight.variable.numpy() for weight in self._weights]
        count = len(self.trainable_names)
        return values[:count], values[count:]


def _count(weights: Sequence[Weight]) -> int:
    return sum(math.prod(weight.variable.shape) for weight in weights)


def weights_of(model: tf.keras.Model) -> tuple[Weight, ...]:
    """Returns the weights of a built model, without duplicates, in the order of its layers.

    Raises:
      ValueError: If a weight is not an attribute of a layer, or if names are not unique.
    """
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


def divide(
    model: tf.keras.Model,
    trains: Callable[[str], bool],
    also: Sequence[tf.Variable] = (),
    never: Sequence[tf.Variable] = (),
) -> tuple[list[Weight], list[Weight]]:
    """Divides the weights of a model into those that train and the others, also for Keras.

    Args:
      model: A built Keras model.
      trains: Function that says, for a weight's name, whether it trains.
      also: Variables that train in any case.
      never: Variables that do not train in any case.

    Returns:
      The weights that train, and the others, both in the order of `weights_of`.
    """
    fixed = {**{id(v): True for v in also}, **{id(v): False for v in never}}
    chosen: list[Weight] = []
    rest: list[Weight] = []
    for weight in weights_of(model):
        kept = fixed.get(id(weight.variable))
        (chosen if (trains(weight.name) if kept is None else kept) else rest).append(weight)
    _set_trainable(chosen, rest)
    return chosen, rest


def _set_trainable(chosen: Sequence[Weight], rest: Sequence[Weight]) -> None:
    """Sets which weights Keras trains. Its own switch works only for whole layers."""
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
    fixed: Sequence[Fixed] = (),
) -> Any:
    """Calls a model with other weights. No variable is created, read or written.

    Args:
      model: A built Keras model.
      weights: All weights of the model.
      values: A tensor for each weight. Its shape may differ from the variable's if the layer allows
        it: an embedding table may have other rows.
      inputs: Inputs of the model.
      seed: Seed of the dropout masks, int32[2]. None for inference without dropout.
      fixed: Other attributes of layers that have these values during the call.

    Returns:
      The model's output.

    Raises:
      ValueError: If the numbers of weights and values differ.
    """
    if len(weights) != len(values):
        raise ValueError(f"{model.name} has {len(weights)} weights, {len(values)} values given")
    if seed is not None:
        seed = tf.convert_to_tensor(seed, tf.int32)
    # Attributes of layers are replaced in place, so only one trace may run at a time.
    with _LOCK:
        kept: list[tuple[tf.keras.layers.Layer, str, Any]] = []

        def swap(layer: tf.keras.layers.Layer, attribute: str, value: Any) -> None:
            kept.append((layer, attribute, vars(layer)[attribute]))
            # Set it in the dict, because Keras would track an attribute that is set on the layer.
            vars(layer)[attribute] = value

        try:
            for layer, attribute, value in fixed:
                swap(layer, attribute, value)
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
    """Returns a weight in the layer's compute type. Keras's own variables cast themselves."""
    tensor = tf.convert_to_tensor(value)
    # These two layers cast by themselves: Embedding its outputs, LayerNormalization its inputs.
    if isinstance(layer, (tf.keras.layers.Embedding, tf.keras.layers.LayerNormalization)):
        return tensor
    return tf.cast(tensor, layer.compute_dtype)


class StatelessDropout:
    """Replaces the random generator of a Keras dropout layer.

    Args:
      seed: Seed of the whole call, int32[2].
      index: Index of the layer among the dropout layers. Each layer has its own random stream.
    """

    def __init__(self, seed: tf.Tensor, index: int) -> None:
        # Use xor with an unrelated constant per layer. If the index were added instead, layer 1 at
        # step 0 would have the stream of layer 0 at step 1.
        salt = seeds.pair(0, "dropout_layer", index)
        self._seed = tf.bitwise.bitwise_xor(seed, tf.constant(salt, tf.int32))

    def dropout(self, inputs: tf.Tensor, rate: float, noise_shape: Any = None) -> tf.Tensor:
        """Sets each element to zero with probability `rate`, scales the others by 1 / (1 - rate).

        The rate is rounded to a multiple of 2^-16, so that an element needs only 16 random bits.
        Drawing random bits takes most of the time.

        Args:
          inputs: float[...].
          rate: Dropout rate.
          noise_shape: Shape of the mask. None for the shape of the inputs.
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


def set_dropout(model: tf.keras.Model, rate: float, but: str) -> None:
    """Sets the rate of all dropout layers of a model.

    Args:
      model: The model.
      rate: The rate.
      but: Name of a layer that keeps its rate.
    """
    for layer in _dropout_layers(model):
        if layer.name != but:
            layer.rate = rate


def _dropout_layers(model: tf.keras.Model) -> list[tf.keras.layers.Layer]:
    layers = model._flatten_layers()
    return [layer for layer in layers if isinstance(layer, tf.keras.layers.Dropout)]


def _walk(layer: tf.keras.layers.Layer, prefix: str) -> Iterator[tuple[str, tf.keras.layers.Layer]]:
    """Yields (path that ends with a slash, layer) for all layers below a layer, depth first."""
    for child in layer._flatten_layers(recursive=False, include_self=False):
        path = f"{prefix}{child.name}/"
        yield path, child
        yield from _walk(child, path)
