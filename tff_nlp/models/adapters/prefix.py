"""Prefix tuning: each attention also reads some trained keys and values before the text.

Li and Liang 2021, "Prefix-Tuning: Optimizing Continuous Prompts for Generation", section 4, without
the network that computes the prefix (section 4.3). The prefix has no position in the text.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp import seeds
from tff_nlp.errors import UserError

_STANDARD_DEVIATION = 0.02


class Prefix(tf.keras.layers.Layer):
    """The trained keys and values of one attention layer.

    Args:
      attention: A built attention layer of Keras or KerasNLP.
      length: Number of positions.
      seed: Seed of the run.
      place: Number of the transformer layer, so that each has other random values.
    """

    def __init__(self, attention: Any, length: int, seed: int, place: int) -> None:
        super().__init__(name="prefix", dtype=attention._dtype_policy)
        self._attend = attention._compute_attention
        for name, dense in (("key", attention._key_dense), ("value", attention._value_dense)):
            generator = seeds.generator(seed, "initial_weights", "prefix", place, name)
            shape = [length, *dense.kernel.shape[1:]]
            value = generator.standard_normal(shape, np.float32) * _STANDARD_DEVIATION
            variable = self.add_weight(f"prefix_{name}", shape, tf.float32, "zeros")
            variable.assign(value)
            setattr(self, f"prefix_{name}", variable)
        self.built = True

    def attend(
        self, query: Any, key: Any, value: Any, attention_mask: Any = None, *more: Any, **named: Any
    ) -> Any:
        """Computes the attention over the prefix and the text.

        Args:
          query: float[batch, tokens, heads, size].
          key: float[batch, positions, heads, size].
          value: float[batch, positions, heads, size].
          attention_mask: [batch, tokens, positions]; None to read all positions.
          *more: Other arguments of the layer's own method.
          **named: The same, by name.

        Returns:
          The result of the layer's own method.
        """
        if attention_mask is not None:
            length = self.prefix_key.shape[0]
            ones = tf.ones([*tf.unstack(tf.shape(attention_mask))[:-1], length])
            attention_mask = tf.concat(
                [tf.cast(ones, attention_mask.dtype), attention_mask], axis=-1
            )
        keys, values = _before(self.prefix_key, key), _before(self.prefix_value, value)
        return self._attend(query, keys, values, attention_mask, *more, **named)


def _before(prefix: Any, text: tf.Tensor) -> tf.Tensor:
    """Puts a prefix, [length, heads, size], before each text of a batch."""
    part = tf.cast(prefix, text.dtype)[tf.newaxis]
    repeated = tf.tile(part, [tf.shape(text)[0], 1, 1, 1])
    return tf.concat([repeated, text], axis=1)


def attach(backbone: Any, length: int, seed: int) -> list[Prefix]:
    """Puts a prefix into each attention layer of a backbone, and returns the prefixes.

    Args:
      backbone: A built KerasNLP backbone of an encoder.
      length: Number of positions.
      seed: Seed of the run.

    Raises:
      UserError: If the length is below 1.
    """
    if length < 1:
        raise UserError(f"`prefix_length`={length}: must be 1 or more")
    added = []
    for place, layer in enumerate(backbone.transformer_layers):
        attention = layer._self_attention_layer
        prefix = Prefix(attention, length, seed, place)
        attention.prefix = prefix
        attention._compute_attention = prefix.attend
        added.append(prefix)
    return added
