"""Exports a trained classifier as a SavedModel that takes texts, or pairs of texts."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp.errors import UserError
from tff_nlp.models import huggingface
from tff_nlp.models.classifier import Classifier
from tff_nlp.models.vocabulary import vocabulary_text
from tff_nlp.serving import saved_models, text_tokens

# Code in info.json that labels a text in a program with only TensorFlow and TensorFlow Text.
_SERVING_CODE = (
    "import tensorflow as tf",
    "import tensorflow_text  # registers the operations that tokenize",
    "model = tf.saved_model.load('model')",
    "outputs = model.signatures['serving_default']({inputs})",
    "print(outputs['label'].numpy(), outputs['probabilities'].numpy())",
)
_EXAMPLES = ("Not bad at all.", "It is good.")


class TextClassifier(tf.Module):
    """The saved module. It takes texts, or pairs of texts, and returns labels and probabilities.

    Args:
      classifier: The classifier.
      trainable: Arrays in the order of the classifier's `trainable_names`.
      frozen: Arrays in the order of the classifier's `frozen_names`.
      label_names: Names of the labels, in index order.
      max_tokens: Maximum number of tokens, including [CLS] and [SEP]. Longer texts are cut.
      strip_prefix: Prefix to remove once from the start of each text.
    """

    def __init__(
        self,
        classifier: Classifier,
        trainable: Sequence[np.ndarray],
        frozen: Sequence[np.ndarray],
        label_names: Sequence[str],
        max_tokens: int,
        strip_prefix: str = "",
    ) -> None:
        super().__init__(name="text_classifier")
        self._classifier = classifier
        self._trainable = [tf.Variable(value, trainable=False) for value in trainable]
        self._frozen = [tf.Variable(value, trainable=False) for value in frozen]
        self._label_names = tf.constant([name.encode() for name in label_names], tf.string)
        self._max_tokens = max_tokens
        self._strip_prefix = strip_prefix

        self.predict = tf.function(self._predict, input_specs(classifier), autograph=False)
        self.count_tokens = tf.function(
            self._count_tokens, input_specs(classifier), autograph=False
        )

    def _predict(
        self, texts: tf.Tensor, second_texts: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Labels texts.

        Args:
          texts: string[batch], UTF-8.
          second_texts: The second text of each pair, string[batch], or None for single texts.

        Returns:
          label: Name of the most probable label, string[batch].
          probabilities: float32[batch, labels].
        """
        tokenizer = self._classifier.tokenizer
        tokens = text_tokens.encode(
            tokenizer, self._max_tokens, self._strip_prefix, texts, second_texts
        )
        ids = tokens.to_tensor(tokenizer.pad_id)
        logits = self._classifier.logits(
            [tf.convert_to_tensor(weight) for weight in self._trainable],
            [tf.convert_to_tensor(weight) for weight in self._frozen],
            ids,
            tf.sequence_mask(tokens.row_lengths()),
            seed=None,
            segment_ids=tokenizer.segment_ids(ids) if self._classifier.reads_pairs else None,
        )
        return {
            "label": tf.gather(self._label_names, tf.argmax(logits, axis=1)),
            "probabilities": tf.nn.softmax(logits),
        }

    def _count_tokens(
        self, texts: tf.Tensor, second_texts: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Counts the tokens that `predict` reads, without [CLS] and [SEP].

        Args:
          texts: string[batch], UTF-8.
          second_texts: The second text of each pair, string[batch], or None for single texts.

        Returns:
          tokens: Number of tokens of each text or pair, int32[batch].
          read: Number of these tokens that are left after cutting, int32[batch].
          unknown: Number of the tokens left that are not in the vocabulary, int32[batch].
          max_tokens: Maximum number of tokens, including [CLS] and [SEP], int32[].
        """
        counts = text_tokens.count(
            self._classifier.tokenizer, self._max_tokens, self._strip_prefix, texts, second_texts
        )
        return {**counts, "max_tokens": tf.constant(self._max_tokens)}

    @tf.function(input_signature=[])
    def label_names(self) -> dict[str, tf.Tensor]:
        """Returns "label_names": string[labels], in the order of the probabilities."""
        return {"label_names": tf.identity(self._label_names)}


def input_specs(classifier: Classifier) -> list[tf.TensorSpec]:
    """Returns the specs of a classifier's inputs: one string[batch], or two for pairs of texts."""
    names = saved_models.TEXT_INPUTS[: 2 if classifier.reads_pairs else 1]
    return [tf.TensorSpec([None], tf.string, name) for name in names]


def export(
    folder: str | pathlib.Path,
    classifier: Classifier,
    trainable: Sequence[np.ndarray],
    frozen: Sequence[np.ndarray],
    label_names: Sequence[str],
    max_tokens: int,
    *,
    strip_prefix: str = "",
    info: Mapping[str, Any] | None = None,
) -> str:
    """Writes a SavedModel with the signatures "serving_default", "count_tokens" and "label_names".

    The vocabulary is also in a file beside it, for exports to other formats (`plain_bert`). The
    folder appears only when it is complete. It replaces an older export.

    Args:
      folder: Folder to write.
      classifier: The classifier.
      trainable: Arrays in the order of the classifier's `trainable_names`.
      frozen: Arrays in the order of the classifier's `frozen_names`.
      label_names: Names of the labels, in index order.
      max_tokens: Maximum number of tokens, including [CLS] and [SEP]. Longer texts are cut.
      strip_prefix: Prefix to remove once from the start of each text.
      info: Further entries for info.json. It always has inputs, label_names, max_tokens,
        strip_prefix, the tokenizer's fingerprint and rules, and code that uses the model.

    Returns:
      The model's fingerprint, see `model_fingerprint`.

    Raises:
      UserError: If the folder holds something else, or if `max_tokens` is not possible.
      ValueError: If the number of label names is wrong.
      WriteError: If the folder cannot be written.
    """
    if len(label_names) != classifier.num_labels:
        raise ValueError(f"{classifier.num_labels} labels, {len(label_names)} names")
    if not 2 <= max_tokens <= classifier.max_tokens:
        raise UserError(
            f"`max_tokens`={max_tokens}: the encoder reads 2 to {classifier.max_tokens} tokens"
        )
    module = TextClassifier(classifier, trainable, frozen, label_names, max_tokens, strip_prefix)
    signatures = {
        "serving_default": module.predict,
        "count_tokens": module.count_tokens,
        "label_names": module.label_names,
    }
    tokenizer = classifier.tokenizer
    inputs = [spec.name for spec in input_specs(classifier)]
    given = (
        f"{name}=tf.constant([{text!r}])" for name, text in zip(inputs, _EXAMPLES, strict=False)
    )
    shown = ", ".join(given)
    content = {
        "inputs": inputs,
        "label_names": list(label_names),
        "max_tokens": max_tokens,
        "strip_prefix": strip_prefix,
        "tokenizer": {
            "fingerprint": tokenizer.fingerprint,
            **dataclasses.asdict(tokenizer.rules),
        },
        "serving_code": [line.format(inputs=shown) for line in _SERVING_CODE],
        **(info or {}),
    }
    vocabulary = {huggingface.VOCABULARY: vocabulary_text(tokenizer.vocabulary)}
    return saved_models.write(folder, module, signatures, content, vocabulary)
