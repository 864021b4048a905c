"""A trained classifier as a SavedModel that takes texts."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tff_nlp.errors import UserError
from tff_nlp.models.classifier import Classifier
from tff_nlp.serving import saved_models

# What labels a text in a program that has TensorFlow and TensorFlow Text only; part of info.json.
SERVING_CODE = (
    "import tensorflow as tf",
    "import tensorflow_text  # registers the operations that tokenize",
    "model = tf.saved_model.load('model')",
    "outputs = model.signatures['serving_default'](texts=tf.constant(['Not bad at all.']))",
    "print(outputs['label'].numpy(), outputs['probabilities'].numpy())",
)

# What Python's str.strip removes, as a class of RE2.
_BLANKS = r"[\s\x{B}\x{1C}-\x{1F}\x{85}\p{Z}]*"


class TextClassifier(tf.Module):
    """What is saved: raw texts in, label names and probabilities out.

    Args:
      classifier: The classifier.
      trainable: Arrays in the order of its `trainable_names`.
      frozen: Arrays in the order of its `frozen_names`.
      label_names: Names of the labels, in index order.
      max_tokens: Texts are cut to this many tokens, [CLS] and [SEP] included.
      strip_prefix: Removed once from the start of each text that has it.
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

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "texts")])
    def predict(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        """Labels texts.

        Args:
          texts: string[batch], UTF-8.

        Returns:
          label: string[batch], the name of the most probable label.
          probabilities: float32[batch, labels].
        """
        tokens = self._classifier.tokenizer.encode_tensor(self._read(texts), self._max_tokens)
        logits = self._classifier.logits(
            [tf.convert_to_tensor(weight) for weight in self._trainable],
            [tf.convert_to_tensor(weight) for weight in self._frozen],
            tokens.to_tensor(self._classifier.tokenizer.pad_id),
            tf.sequence_mask(tokens.row_lengths()),
            seed=None,
        )
        return {
            "label": tf.gather(self._label_names, tf.argmax(logits, axis=1)),
            "probabilities": tf.nn.softmax(logits),
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "texts")])
    def count_tokens(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
        """Counts what `predict` makes of texts, [CLS] and [SEP] left out.

        Args:
          texts: string[batch], UTF-8.

        Returns:
          tokens: int32[batch], the tokens of each text.
          read: int32[batch], those that are left when it is cut.
          unknown: int32[batch], those left that the vocabulary does not know.
          max_tokens: int32[], to how many tokens texts are cut, [CLS] and [SEP] included.
        """
        tokenizer = self._classifier.tokenizer
        pieces = tokenizer.pieces(self._read(texts))
        kept = pieces[:, : self._max_tokens - 2]
        unknown = kept.with_flat_values(tf.cast(kept.flat_values == tokenizer.unknown_id, tf.int32))
        return {
            "tokens": tf.cast(pieces.row_lengths(), tf.int32),
            "read": tf.cast(kept.row_lengths(), tf.int32),
            "unknown": tf.reduce_sum(unknown, axis=1),
            "max_tokens": tf.constant(self._max_tokens),
        }

    def _read(self, texts: tf.Tensor) -> tf.Tensor:
        """Returns the texts as loading the training corpus would have left them."""
        if not self._strip_prefix:
            return texts
        prefix = "".join(rf"\x{{{ord(character):X}}}" for character in self._strip_prefix)
        return tf.strings.regex_replace(texts, f"^{_BLANKS}{prefix}", "", replace_global=False)

    @tf.function(input_signature=[])
    def label_names(self) -> dict[str, tf.Tensor]:
        """Returns the names of the labels, string[labels], in the order of the probabilities."""
        return {"label_names": tf.identity(self._label_names)}


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

    The folder appears only when it is complete; an older export in its place is replaced.

    Args:
      folder: Where to.
      classifier: The classifier.
      trainable: Arrays in the order of its `trainable_names`.
      frozen: Arrays in the order of its `frozen_names`.
      label_names: Names of the labels, in index order.
      max_tokens: Texts are cut to this many tokens, [CLS] and [SEP] included.
      strip_prefix: Removed once from the start of each text that has it.
      info: Further entries for info.json, which always has label_names, max_tokens, strip_prefix,
        the tokenizer's fingerprint and rules, and the code that serves the model.

    Returns:
      The model's fingerprint, see `model_fingerprint`.

    Raises:
      UserError: If the folder holds something else.
      WriteError: If the folder cannot be written.
    """
    if len(label_names) != classifier.num_labels:
        raise ValueError(f"{classifier.num_labels} labels, {len(label_names)} names")
    if not 2 <= max_tokens <= classifier.max_tokens:
        raise UserError(
            f"--max_tokens={max_tokens}: the encoder reads 2 to {classifier.max_tokens} tokens"
        )
    module = TextClassifier(classifier, trainable, frozen, label_names, max_tokens, strip_prefix)
    signatures = {
        "serving_default": module.predict,
        "count_tokens": module.count_tokens,
        "label_names": module.label_names,
    }
    tokenizer = classifier.tokenizer
    content = {
        "label_names": list(label_names),
        "max_tokens": max_tokens,
        "strip_prefix": strip_prefix,
        "tokenizer": {
            "fingerprint": tokenizer.fingerprint,
            **dataclasses.asdict(tokenizer.rules),
        },
        "serving_code": list(SERVING_CODE),
        **(info or {}),
    }
    return saved_models.write(folder, module, signatures, content)
