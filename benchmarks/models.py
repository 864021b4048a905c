"""The model that every contender trains: BERT, mean pooling, dropout, a dense head."""

from typing import Any

import tensorflow as tf

from benchmarks import examples, shapes
from tff_nlp import silence_libraries
from tff_nlp.models import classifier, encoders, tokenizer


def build_classifier(size: shapes.Size) -> classifier.Classifier:
    """Returns the model as this package's `Classifier`, with random weights."""
    silence_libraries.import_keras_nlp()
    # The same gelu as in KerasNLP, so that all contenders compute the same.
    backbone = encoders.build_backbone(gelu="tanh", dropout=shapes.DROPOUT, **_sizes(size))
    encoders.initialize(backbone, seed=0)
    pieces = tuple(f"piece{number}" for number in range(size.vocabulary))
    special = tokenizer.SPECIAL_TOKENS
    vocabulary = tokenizer.Tokenizer((*special, *pieces[len(special) :]))
    if vocabulary.pad_id != examples.PAD_ID:
        raise ValueError(f"padding has the id {vocabulary.pad_id}")
    encoder = encoders.Encoder("random", backbone, vocabulary, pretrained=False)
    return classifier.build(encoder, shapes.LABELS, pooling="mean")


def build_keras_model(size: shapes.Size) -> tf.keras.Model:
    """Returns the model from layers of KerasNLP and Keras, not compiled, with random weights.

    It takes int32[batch, length] token ids and returns float32[batch, labels] logits.
    """
    silence_libraries.import_keras_nlp()
    import keras_nlp

    backbone = keras_nlp.models.BertBackbone(dropout=shapes.DROPOUT, **_sizes(size))
    token_ids = tf.keras.Input([shapes.LENGTH], dtype=tf.int32, name="token_ids")
    mask = tf.not_equal(token_ids, examples.PAD_ID)
    inputs = {
        "token_ids": token_ids,
        "segment_ids": tf.zeros_like(token_ids),
        "padding_mask": tf.cast(mask, tf.int32),
    }
    outputs = tf.keras.Model(backbone.input, backbone.output["sequence_output"])(inputs)
    pooled = tf.keras.layers.GlobalAveragePooling1D()(outputs, mask=mask)
    pooled = tf.keras.layers.Dropout(shapes.DROPOUT)(pooled)
    return tf.keras.Model(token_ids, tf.keras.layers.Dense(shapes.LABELS)(pooled))


def _sizes(size: shapes.Size) -> dict[str, Any]:
    return {
        "vocabulary_size": size.vocabulary,
        "num_layers": size.layers,
        "num_heads": size.heads,
        "hidden_dim": size.width,
        "intermediate_dim": 4 * size.width,
        "max_sequence_length": shapes.POSITIONS,
    }
