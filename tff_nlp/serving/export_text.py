"""Exports a trained language model as a SavedModel that continues texts."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp.models.causal import CausalModel
from tff_nlp.models.generation import check_max_new_tokens, continue_texts
from tff_nlp.serving import saved_models

# Code in info.json that continues a text in a program with only TensorFlow and TensorFlow Text.
SERVING_CODE = (
    "import tensorflow as tf",
    "import tensorflow_text  # registers the operations that tokenize",
    "model = tf.saved_model.load('model')",
    "texts = tf.constant(['Once upon a time'])",
    "print(model.signatures['serving_default'](texts=texts)['text'].numpy())",
    "print(model.signatures['sample'](texts=texts, max_new_tokens=tf.constant(50),",
    "    top_p=tf.constant(.9), temperature=tf.constant(1.), seed=tf.constant(1, tf.int64))",
    "    ['text'].numpy())",
)


class TextGenerator(tf.Module):
    """The saved module. It takes beginnings of texts and returns their continuations.

    Args:
      model: The model.
      trainable: Arrays in the order of the model's `trainable_names`.
      frozen: Arrays in the order of the model's `frozen_names`.
      max_new_tokens: Maximum number of new tokens in `continue_greedily`.
    """

    def __init__(
        self,
        model: CausalModel,
        trainable: Sequence[np.ndarray],
        frozen: Sequence[np.ndarray],
        max_new_tokens: int,
    ) -> None:
        super().__init__(name="text_generator")
        self._model = model
        self._trainable = [tf.Variable(value, trainable=False) for value in trainable]
        self._frozen = [tf.Variable(value, trainable=False) for value in frozen]
        self._max_new_tokens = max_new_tokens

    # AutoGraph is not needed here, and it would parse the source of every layer.
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "texts")], autograph=False)
    def continue_greedily(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        """Continues texts with the most probable token at each position.

        Args:
          texts: string[batch], UTF-8.

        Returns:
          text: The continuation of each text, without the text itself, string[batch].
        """
        return self.sample(texts, self._max_new_tokens, 0.0, 1.0, tf.constant(0, tf.int64))

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, "texts"),
            tf.TensorSpec([], tf.int32, "max_new_tokens"),
            tf.TensorSpec([], tf.float32, "top_p"),
            tf.TensorSpec([], tf.float32, "temperature"),
            tf.TensorSpec([], tf.int64, "seed"),
        ],
        autograph=False,
    )
    def sample(
        self,
        texts: tf.Tensor,
        max_new_tokens: tf.Tensor,
        top_p: tf.Tensor,
        temperature: tf.Tensor,
        seed: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """Continues texts with tokens that are drawn at random.

        Args:
          texts: string[batch], UTF-8.
          max_new_tokens: Maximum number of new tokens of each text, int32[]. It is clipped to the
            range of the model: from 1 to its `max_tokens` - 1.
          top_p: Probability mass of top-p sampling, float32[], see `generation.sample`. 0 takes the
            most probable token.
          temperature: Divisor of the logits, float32[], above 0.
          seed: Seed of the draws, int64[]. They also depend on the position in the text and on the
            row.

        Returns:
          text: The continuation of each text, without the text itself, string[batch].
        """
        written = continue_texts(
            self._model,
            [tf.convert_to_tensor(weight) for weight in self._trainable],
            [tf.convert_to_tensor(weight) for weight in self._frozen],
            texts,
            max_new_tokens=tf.clip_by_value(max_new_tokens, 1, self._model.max_tokens - 1),
            top_p=top_p,
            temperature=temperature,
            seed=tf.bitcast(seed, tf.int32),
        )
        return {"text": written}

    @tf.function(input_signature=[])
    def limits(self) -> dict[str, tf.Tensor]:
        """Returns the limits of the model.

        Returns:
          max_tokens: Maximum number of tokens of a text, int32[].
          max_new_tokens: Maximum number of new tokens in `continue_greedily`, int32[].
        """
        return {
            "max_tokens": tf.constant(self._model.max_tokens),
            "max_new_tokens": tf.constant(self._max_new_tokens),
        }


def export(
    folder: str | pathlib.Path,
    model: CausalModel,
    trainable: Sequence[np.ndarray],
    frozen: Sequence[np.ndarray],
    *,
    max_new_tokens: int = 50,
    info: Mapping[str, Any] | None = None,
) -> str:
    """Writes a SavedModel with the signatures "serving_default" (greedy), "sample" and "limits".

    The folder appears only when it is complete. It replaces an older export.

    Args:
      folder: Folder to write.
      model: The model.
      trainable: Arrays in the order of the model's `trainable_names`.
      frozen: Arrays in the order of the model's `frozen_names`.
      max_new_tokens: Maximum number of new tokens in "serving_default".
      info: Further entries for info.json. It always has max_tokens, max_new_tokens, the tokenizer's
        fingerprint, and code that uses the model.

    Returns:
      The model's fingerprint, see `model_fingerprint`.

    Raises:
      UserError: If the folder holds something else, or if `max_new_tokens` is not possible.
      WriteError: If the folder cannot be written.
    """
    check_max_new_tokens(max_new_tokens, model.max_tokens)
    module = TextGenerator(model, trainable, frozen, max_new_tokens)
    signatures = {
        "serving_default": module.continue_greedily,
        "sample": module.sample,
        "limits": module.limits,
    }
    content = {
        "max_tokens": model.max_tokens,
        "max_new_tokens": max_new_tokens,
        "tokenizer": {"fingerprint": model.tokenizer.fingerprint},
        "serving_code": list(SERVING_CODE),
        **(info or {}),
    }
    return saved_models.write(folder, module, signatures, content)
