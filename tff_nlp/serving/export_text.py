"""A trained language model as a SavedModel that continues texts."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp.models.causal import CausalModel
from tff_nlp.models.generation import check_max_new_tokens, continue_texts
from tff_nlp.serving import saved_models

# What continues a text in a program that has TensorFlow and TensorFlow Text only; in info.json.
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
    """What is saved: the beginnings of texts in, what follows on them out.

    Args:
      model: The model.
      trainable: Arrays in the order of its `trainable_names`.
      frozen: Arrays in the order of its `frozen_names`.
      max_new_tokens: The most tokens that `continue_greedily` writes.
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

    # None of these has anything for AutoGraph, which would read the source of every layer.
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "texts")], autograph=False)
    def continue_greedily(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        """Continues texts by the most probable token at each place.

        Args:
          texts: string[batch], UTF-8.

        Returns:
          text: string[batch], what follows on each, without it.
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
        """Continues texts by tokens that are drawn.

        Args:
          texts: string[batch], UTF-8.
          max_new_tokens: int32[], the most tokens to write for each; brought into the range of the
            model, from 1 to one less than its longest input.
          top_p: float32[], see `generation.sample`; 0 for the most probable token.
          temperature: float32[], above 0: the logits are divided by it.
          seed: int64[], what is drawn depends on it, on the place in the text and on the row.

        Returns:
          text: string[batch], what follows on each, without it.
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
        """Returns int32[] max_tokens, the longest input, and max_new_tokens of the default."""
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

    The folder appears only when it is complete; an older export in its place is replaced.

    Args:
      folder: Where to.
      model: The model.
      trainable: Arrays in the order of its `trainable_names`.
      frozen: Arrays in the order of its `frozen_names`.
      max_new_tokens: The most tokens that "serving_default" writes for a text.
      info: Further entries for info.json, which always has max_tokens, max_new_tokens, the
        tokenizer's fingerprint, and the code that serves the model.

    Returns:
      The model's fingerprint, see `model_fingerprint`.

    Raises:
      UserError: If the folder holds something else, or `max_new_tokens` is not possible.
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
