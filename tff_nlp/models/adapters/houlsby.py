"""Bottleneck adapters: two small dense layers after each attention and each feed-forward part.

Houlsby et al. 2019, "Parameter-Efficient Transfer Learning for NLP", section 2.1. The second layer
starts at zero, so the network computes the same as before until it trains.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp import seeds
from tff_nlp.errors import UserError

# The last step of each part of a transformer layer, before its input is added to its output.
_ENDS = {
    "self_attention_adapter": "_self_attention_dropout",
    "feedforward_adapter": "_feedforward_dropout",
}
_STANDARD_DEVIATION = 0.02


class Bottleneck(tf.keras.layers.Layer):
    """A layer, followed by y + gelu(y D + d) U + u.

    Args:
      name: Name of the new layer.
      inner: The layer.
      width: Width of y.
      bottleneck: Width of the bottleneck.
      seed: Seed of the run.
      place: Number of the transformer layer, so that each has other random values.
    """

    def __init__(
        self, name: str, inner: Any, width: int, bottleneck: int, seed: int, place: int
    ) -> None:
        super().__init__(name=name, dtype=inner._dtype_policy)
        self.inner = inner
        generator = seeds.generator(seed, "initial_weights", name, place)
        down = generator.standard_normal([width, bottleneck], np.float32) * _STANDARD_DEVIATION
        self.kernel_down = self.add_weight("kernel_down", down.shape, tf.float32, "zeros")
        self.kernel_down.assign(down)
        self.bias_down = self.add_weight("bias_down", [bottleneck], tf.float32, "zeros")
        self.kernel_up = self.add_weight("kernel_up", [bottleneck, width], tf.float32, "zeros")
        self.bias_up = self.add_weight("bias_up", [width], tf.float32, "zeros")
        self.built = True

    def call(self, inputs: tf.Tensor, training: Any = None) -> tf.Tensor:
        """Returns float[..., width], the shape of the inputs."""
        outputs = self.inner(inputs, training=training)
        down, bias_down, up, bias_up = (
            tf.cast(weight, outputs.dtype)
            for weight in (self.kernel_down, self.bias_down, self.kernel_up, self.bias_up)
        )
        hidden = tf.nn.gelu(tf.tensordot(outputs, down, 1) + bias_down)
        return outputs + tf.tensordot(hidden, up, 1) + bias_up


def attach(backbone: Any, bottleneck: int, seed: int) -> list[Bottleneck]:
    """Puts two bottlenecks into each transformer layer of a backbone, and returns them.

    Args:
      backbone: A built KerasNLP backbone.
      bottleneck: Width of the bottleneck.
      seed: Seed of the run.

    Raises:
      UserError: If the width is below 1, or the layers have other parts (Llama).
    """
    if bottleneck < 1:
        raise UserError(f"`adapter_width`={bottleneck}: must be 1 or more")
    added = []
    for place, layer in enumerate(backbone.transformer_layers):
        for name, attribute in _ENDS.items():
            if not hasattr(layer, attribute):
                raise UserError("`adapter`=houlsby: this network has no place for it; take lora")
            inner = getattr(layer, attribute)
            wrapped = Bottleneck(name, inner, backbone.hidden_dim, bottleneck, seed, place)
            setattr(layer, attribute, wrapped)
            added.append(wrapped)
    return added
