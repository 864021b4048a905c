"""A plain BERT as TensorFlow operations that TFLite has, with weights that it can quantize."""

import numpy as np
import tensorflow as tf

from tff_nlp.models.encoders import GELUS
from tff_nlp.models.huggingface import INPUTS
from tff_nlp.serving import formats, rounded_weights
from tff_nlp.serving.plain_bert import HEAD, PlainBert

OUTPUT = "logits"
_MASKED = -1e9


class Module(tf.Module):
    """The module to convert. `logits` is its function.

    Args:
      bert: The classifier.
      precision: One of `formats.PRECISIONS`. int8 rounds the tables here, because rows have scales
        of their own; TFLite's converter rounds the matrices.
    """

    def __init__(self, bert: PlainBert, precision: str) -> None:
        super().__init__(name="text_classifier")
        self._bert = bert
        self._rounds = precision == formats.INT8
        names = INPUTS[: 3 if bert.reads_pairs else 2]
        self.logits = tf.function(
            self._logits,
            input_signature=[tf.TensorSpec([None, None], tf.int32, name) for name in names],
        )

    def _logits(
        self,
        input_ids: tf.Tensor,
        attention_mask: tf.Tensor,
        token_type_ids: tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """Returns the logits, float32[batch, labels]. All inputs are int32[batch, length]."""
        bert = self._bert
        shape = tf.shape(input_ids)
        mask = tf.cast(attention_mask, tf.float32)
        x = self._embeddings(input_ids, token_type_ids)
        # Rows of tokens, because TFLite has products of a matrix with a constant matrix.
        x = tf.reshape(self._norm("embeddings.LayerNorm", x), [-1, bert.width])
        bias = tf.reshape((1.0 - mask) * _MASKED, [shape[0], 1, 1, shape[1]])
        for number in range(bert.layers):
            layer = f"encoder.layer.{number}"
            x = self._norm(
                f"{layer}.attention.output.LayerNorm", x + self._attention(layer, x, bias, shape)
            )
            inner = GELUS[bert.gelu](self._dense(f"{layer}.intermediate.dense", x))
            x = self._norm(
                f"{layer}.output.LayerNorm", x + self._dense(f"{layer}.output.dense", inner)
            )
        pooled = self._pool(tf.reshape(x, [shape[0], shape[1], bert.width]), mask)
        return {OUTPUT: self._dense(HEAD, pooled)}

    def _embeddings(self, input_ids: tf.Tensor, token_type_ids: tf.Tensor | None) -> tf.Tensor:
        words = self._rows("word", input_ids)
        # Longer texts are cut, so the other rows are never read.
        places = tf.range(tf.shape(input_ids)[1])
        positions = self._rows("position", places, self._bert.max_tokens)
        segments = self._bert.tensors["embeddings.token_type_embeddings.weight"]
        if token_type_ids is None:
            return words + tf.expand_dims(positions, 0) + segments[0]
        return words + tf.expand_dims(positions, 0) + tf.gather(segments, token_type_ids)

    def _rows(self, name: str, places: tf.Tensor, count: int | None = None) -> tf.Tensor:
        table = self._bert.tensors[f"embeddings.{name}_embeddings.weight"][:count]
        if not self._rounds:
            return tf.gather(tf.constant(table), places)
        rounded, scales = rounded_weights.round_rows(table)
        rows = tf.cast(tf.gather(tf.constant(rounded), places), tf.float32)
        return rows * tf.gather(tf.constant(scales), places)

    def _attention(self, layer: str, x: tf.Tensor, bias: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
        bert = self._bert
        size = bert.width // bert.heads

        def read(name: str) -> tf.Tensor:
            rows = self._dense(f"{layer}.attention.self.{name}", x)
            apart = tf.reshape(rows, [shape[0], shape[1], bert.heads, size])
            return tf.transpose(apart, [0, 2, 1, 3])

        query, key, value = map(read, ("query", "key", "value"))
        scores = tf.matmul(query, key, transpose_b=True) * np.float32(size**-0.5) + bias
        found = tf.transpose(tf.matmul(tf.nn.softmax(scores), value), [0, 2, 1, 3])
        return self._dense(f"{layer}.attention.output.dense", tf.reshape(found, [-1, bert.width]))

    def _pool(self, outputs: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        """Returns float32[batch, width] for float32[batch, length, width]."""
        if self._bert.pooling == "mean":
            total = tf.reduce_sum(outputs * tf.expand_dims(mask, 2), axis=1)
            return total / tf.maximum(tf.reduce_sum(mask, axis=1, keepdims=True), 1.0)
        first = outputs[:, 0, :]
        return (
            tf.tanh(self._dense("pooler.dense", first)) if self._bert.pooling == "pooler" else first
        )

    def _norm(self, name: str, x: tf.Tensor) -> tf.Tensor:
        centred = x - tf.reduce_mean(x, axis=-1, keepdims=True)
        variance = tf.reduce_mean(tf.square(centred), axis=-1, keepdims=True)
        scaled = centred * tf.math.rsqrt(variance + self._bert.epsilon)
        return scaled * self._bert.tensors[f"{name}.weight"] + self._bert.tensors[f"{name}.bias"]

    def _dense(self, name: str, x: tf.Tensor) -> tf.Tensor:
        kernel = tf.constant(np.ascontiguousarray(self._bert.tensors[f"{name}.weight"].T))
        return tf.matmul(x, kernel) + self._bert.tensors[f"{name}.bias"]
